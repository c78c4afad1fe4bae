"""How a live run is doing: said by its stages each second, gathered in one record, shown to people and to Prometheus.

    pulse     a stage says each second how it is doing
    talkers   the connections with the most bytes: a bounded sketch
    status    what the stages say, as one record
    view      the record for a person: a panel on a terminal, else a line now and then
    metrics   the record for Prometheus
    serving   ... over HTTP
    address   where that listens

Decisions that are not obvious from one file:

- The record is a value, folded note by note: what is shown can be tested without a run, and a view never sees half
  of a second.
- Nothing here has a thread. Stages beat between two messages, and the coordinator, whose loop has little to do, draws
  and answers scrapes between two notes.
- Counters are the ones of the report: what was watched and what is reported cannot differ.
"""

/* What the two halves of the kernel share, and compiled.py has, too: the layout of what is passed to it.

   Knows: structures. Does not know: what is done with them. Invariant: LAYOUT changes when their meaning does. */

#ifndef FLOWSHARD_PLAIN_H
#define FLOWSHARD_PLAIN_H

#include <stdint.h>

#define LAYOUT 1
#define NAME_ROOM 320 /* of two IPv6 addresses, ports, eight networks, a time and a counter: 190 */
#define BILLION 1000000000LL

enum { BEGUN, OPEN, SHUT, BROKEN }; /* states of a plain stream */

struct plain {
    uint64_t number, key[7];
    int64_t opened, size;
    uint64_t device, inode, run_start;
    int64_t run_size;
    uint32_t counter, net, runs;
    int32_t descriptor;
    uint8_t side, state, mac_known, mac[12];
};

struct closing { /* what a row says beside what the stream itself does */
    int64_t slot, size, written, seen, overlap, beyond, outside, not_data, refused, first, last, packets, length,
        clipped, disorder, place; /* of its first byte in the capture; below 0: not known */
    int64_t flags, reason; /* which of the texts */
    char md5[32]; /* zeros: none */
};

struct text { /* strings, one behind the other: i lies from at[i] to at[i + 1] */
    const char *bytes;
    const uint32_t *at;
};

struct facts {
    struct text suffixes, links; /* by plain.net: the end of a name, attributes of a row */
    struct text flags, reasons;  /* as they stand in a row */
    int32_t folder, timestamp;
};

/* The name of a stream's file, without the zero behind it, as Names.name: where it ends. */
char *put_name(char *to, const struct plain *stream, const struct facts *facts);

/* Full seconds of a time in nanoseconds, downwards. */
static inline int64_t seconds(int64_t time) { return time / BILLION - (time % BILLION < 0); }

#endif

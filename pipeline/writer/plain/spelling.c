/* Names and rows of plain streams: what names.py and report/rows.py spell, for streams of which there is no more to say.

   Knows: the spelling. Does not know: files, which streams are plain.
   Invariant: of the room it was given it uses no more than ROW bytes a row (compiled.py) and the texts. */

#include "plain.h"

#include <stddef.h>
#include <string.h>

#define NO_TIME INT64_MIN /* what numpy holds for "not a time" */

static char *put(char *to, const char *from, size_t size) {
    memcpy(to, from, size);
    return to + size;
}

#define PUT(to, literal) put((to), (literal), sizeof(literal) - 1)

static char *put_text(char *to, struct text text, uint32_t which) {
    return put(to, text.bytes + text.at[which], text.at[which + 1] - text.at[which]);
}

static char *put_unsigned(char *to, uint64_t value) {
    char digits[20];
    int n = 0;
    do digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    while (n) *to++ = digits[--n];
    return to;
}

static char *put_number(char *to, int64_t value) {
    if (value >= 0) return put_unsigned(to, (uint64_t)value);
    *to++ = '-';
    return put_unsigned(to, 0 - (uint64_t)value);
}

static char *put_digits(char *to, uint64_t value, int count) {
    for (int i = count - 1; i >= 0; i--, value /= 10) to[i] = (char)('0' + value % 10);
    return to + count;
}

static char *put_hex(char *to, uint32_t value) {
    static const char digits[] = "0123456789abcdef";
    int shift = 12;
    while (shift && !(value >> shift)) shift -= 4;
    for (; shift >= 0; shift -= 4) *to++ = digits[value >> shift & 15];
    return to;
}

static char *put_ipv4(char *to, uint32_t address) {
    for (int shift = 24; shift >= 0; shift -= 8) {
        to = put_unsigned(to, address >> shift & 255);
        if (shift) *to++ = '.';
    }
    return to;
}

/* RFC 5952: the longest run of two or more zeros is left out, the first one of several. */
static char *put_ipv6(char *to, uint64_t high, uint64_t low) {
    uint32_t group[8];
    int best = 8, most = 1;
    for (int i = 0; i < 8; i++) group[i] = (i < 4 ? high : low) >> (48 - i % 4 * 16) & 0xFFFF;
    for (int i = 0, run; i < 8; i += run + 1) {
        for (run = 0; i + run < 8 && !group[i + run]; run++);
        if (run > most) most = run, best = i;
    }
    for (int i = 0; i < 8; i++) {
        if (i == best) {
            *to++ = ':';
            *to++ = ':';
            i += most - 1;
            continue;
        }
        if (i && i != best + most) *to++ = ':';
        to = put_hex(to, group[i]);
    }
    return to;
}

static char *put_address(char *to, const struct plain *stream, int which) {
    const uint64_t *end = stream->key + 2 * which;
    return (stream->key[5] & 15) == 4 ? put_ipv4(to, (uint32_t)end[1]) : put_ipv6(to, end[0], end[1]);
}

static uint64_t port(const struct plain *stream, int which) {
    return stream->key[4] >> (which ? 0 : 16) & 0xFFFF;
}

char *put_name(char *to, const struct plain *stream, const struct facts *facts) {
    int source = stream->side;
    if (facts->timestamp) {
        to = put_number(to, seconds(stream->opened));
        *to++ = 'T';
    }
    to = put_address(to, stream, source);
    *to++ = '.';
    to = put_unsigned(to, port(stream, source));
    *to++ = '-';
    to = put_address(to, stream, !source);
    *to++ = '.';
    to = put_unsigned(to, port(stream, !source));
    to = put_text(to, facts->suffixes, stream->net);
    if (stream->counter) {
        *to++ = 'c';
        to = stream->counter < 10000 ? put_digits(to, stream->counter, 4) : put_unsigned(to, stream->counter);
    }
    return to;
}

/* xs:dateTime with nine digits; the day of a civil calendar by counting years from March on. */
static char *put_time(char *to, int64_t time) {
    int64_t second = seconds(time), day = second / 86400 - (second % 86400 < 0), left = second - day * 86400;
    int64_t from = day + 719468, era = (from >= 0 ? from : from - 146096) / 146097, in_era = from - era * 146097;
    int64_t year_of_era = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t third = (5 * in_year + 2) / 153, month = third < 10 ? third + 3 : third - 9;
    to = put_digits(to, (uint64_t)(year_of_era + era * 400 + (month <= 2)), 4);
    *to++ = '-';
    to = put_digits(to, (uint64_t)month, 2);
    *to++ = '-';
    to = put_digits(to, (uint64_t)(in_year - (153 * third + 2) / 5 + 1), 2);
    *to++ = 'T';
    to = put_digits(to, (uint64_t)(left / 3600), 2);
    *to++ = ':';
    to = put_digits(to, (uint64_t)(left / 60 % 60), 2);
    *to++ = ':';
    to = put_digits(to, (uint64_t)(left % 60), 2);
    *to++ = '.';
    to = put_digits(to, (uint64_t)(time - second * BILLION), 9);
    *to++ = 'Z';
    return to;
}

static char *put_mac(char *to, const uint8_t *mac) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 6; i++) {
        if (i) *to++ = ':';
        *to++ = digits[mac[i] >> 4];
        *to++ = digits[mac[i] & 15];
    }
    return to;
}

static char *put_stamps(char *to, const struct closing *end) {
    if (end->last != NO_TIME) {
        to = PUT(to, "<mtime>");
        to = put_time(to, end->last);
        to = PUT(to, "</mtime>");
    }
    if (end->first != NO_TIME) {
        to = PUT(to, "<crtime>");
        to = put_time(to, end->first);
        to = PUT(to, "</crtime>");
    }
    return to;
}

static char *put_seen(char *to, const struct closing *end) {
    if (end->first != NO_TIME) {
        char time[40];
        size_t size = (size_t)(put_time(time, end->first) - time);
        to = PUT(to, " startime='");
        to = put(to, time, size);
        to = PUT(to, "' starttime='");
        to = put(to, time, size);
        *to++ = '\'';
    }
    if (end->last != NO_TIME) {
        to = PUT(to, " endtime='");
        to = put_time(to, end->last);
        *to++ = '\'';
    }
    return to;
}

static char *put_file(char *to, const struct plain *stream, const struct closing *end, const struct facts *facts) {
    to = PUT(to, "<fileobject><filename>");
    to = put_name(to, stream, facts);
    to = PUT(to, "</filename><id>");
    to = put_unsigned(to, stream->number);
    to = PUT(to, "</id><filesize>");
    to = put_number(to, end->size);
    to = PUT(to, "</filesize>");
    to = put_stamps(to, end);
    to = PUT(to, "\n<byte_runs><byte_run file_offset='0'");
    if (end->place >= 0) {
        to = PUT(to, " img_offset='");
        to = put_number(to, end->place);
        *to++ = '\'';
    }
    to = PUT(to, " len='");
    to = put_number(to, end->size);
    to = PUT(to, "'/></byte_runs>");
    if (end->md5[0]) {
        to = PUT(to, "<hashdigest type='md5'>");
        to = put(to, end->md5, sizeof end->md5);
        to = PUT(to, "</hashdigest>");
    }
    *to++ = '\n';
    return to;
}

static char *put_ends(char *to, const struct plain *stream, const struct closing *end, const struct facts *facts) {
    int source = stream->side;
    to = PUT(to, "<tcpflow:tcpflow");
    to = put_seen(to, end);
    to = (stream->key[5] & 15) == 4 ? PUT(to, " family='2' src_ipn='") : PUT(to, " family='10' src_ipn='");
    to = put_address(to, stream, source);
    to = PUT(to, "' dst_ipn='");
    to = put_address(to, stream, !source);
    to = PUT(to, "' srcport='");
    to = put_unsigned(to, port(stream, source));
    to = PUT(to, "' dstport='");
    to = put_unsigned(to, port(stream, !source));
    *to++ = '\'';
    if (stream->mac_known) {
        to = PUT(to, " mac_saddr='");
        to = put_mac(to, stream->mac + 6);
        to = PUT(to, "' mac_daddr='");
        to = put_mac(to, stream->mac);
        *to++ = '\'';
    }
    return put_text(to, facts->links, stream->net);
}

static char *put_counts(char *to, const struct plain *stream, const struct closing *end) {
    to = PUT(to, " packets='");
    to = put_number(to, end->packets);
    to = PUT(to, "' len='");
    to = put_number(to, end->length);
    to = PUT(to, "' caplen='");
    to = put_number(to, end->length - end->clipped);
    to = PUT(to, "' connection='");
    to = put_unsigned(to, stream->number >> 1);
    to = PUT(to, "' direction='");
    to = put_unsigned(to, stream->number & 1);
    to = PUT(to, "' payload='");
    to = put_number(to, end->seen);
    to = PUT(to, "' written='");
    to = put_number(to, end->written);
    to = PUT(to, "' out_of_order_count='");
    to = put_number(to, end->disorder);
    to = PUT(to, "' violations='0' gap_bytes='0' overlap='");
    to = put_number(to, end->overlap);
    to = PUT(to, "' conflict_bytes='0' beyond='");
    to = put_number(to, end->beyond);
    to = PUT(to, "' outside='");
    to = put_number(to, end->outside);
    to = PUT(to, "' not_data='");
    to = put_number(to, end->not_data);
    to = PUT(to, "' refused='");
    to = put_number(to, end->refused);
    *to++ = '\'';
    return to;
}

/* Rows of streams that are whole, one behind the other, as format_rows. Gives the bytes of all; ``lengths``: of each. */
int64_t format_rows(
    const struct facts *facts, const struct plain *table, int64_t count, const struct closing *ends, char *out,
    uint64_t *lengths
) {
    char *to = out;
    for (int64_t i = 0; i < count; i++) {
        const struct plain *stream = table + ends[i].slot;
        char *begin = to;
        to = put_file(to, stream, ends + i, facts);
        to = put_ends(to, stream, ends + i, facts);
        to = put_counts(to, stream, ends + i);
        to = PUT(to, " completeness='");
        to = put_text(to, facts->flags, (uint32_t)ends[i].flags);
        to = PUT(to, "' end='");
        to = put_text(to, facts->reasons, (uint32_t)ends[i].reason);
        to = PUT(to, "'/></fileobject>\n");
        lengths[i] = (uint64_t)(to - begin);
    }
    return to - out;
}

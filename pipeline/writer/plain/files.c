/* Files of plain streams, many in a call: what twin.py does one by one.

   Knows: how a file is made, written, stamped and closed. Does not know: Python, which streams are plain, what to do when
   the system refuses something: it says so and leaves the piece to others.
   Invariant: nothing is read beyond the rows it was given; a file is made new (O_EXCL), no link is followed.

   The caller has checked that all addresses lie in memory of its own. */

#define _GNU_SOURCE
#include "plain.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MOST_PIECES 1024 /* of one call: IOV_MAX */
#define READ 16384 /* bytes compared at a time */

enum { LEFT = -4096 }; /* no errno: a piece that was not tried */

uint64_t layout(void) { return LAYOUT << 24 | sizeof(struct closing) << 12 | sizeof(struct plain); }

/* Of which sources this was made. */
const char *sources(void) { return SOURCES; }

static int identify(struct plain *stream) {
    struct stat found;
    if (fstat(stream->descriptor, &found)) return -errno;
    stream->device = found.st_dev;
    stream->inode = found.st_ino;
    return 0;
}

static int make(struct plain *stream, const struct facts *facts) {
    char name[NAME_ROOM];
    *put_name(name, stream, facts) = 0;
    do stream->descriptor = openat(facts->folder, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    while (stream->descriptor < 0 && errno == EINTR);
    if (stream->descriptor < 0) return -errno;
    stream->state = OPEN;
    return 0;
}

static int shut_one(struct plain *stream) {
    int descriptor = stream->descriptor;
    stream->descriptor = -1;
    stream->state = SHUT;
    if (!close(descriptor) || errno == EINTR) return 0;
    stream->state = BROKEN;
    return -errno;
}

/* A file that was shut, and is still the same one. */
static int reopen(struct plain *stream, const struct facts *facts) {
    uint64_t device = stream->device, inode = stream->inode;
    char name[NAME_ROOM];
    *put_name(name, stream, facts) = 0;
    do stream->descriptor = openat(facts->folder, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    while (stream->descriptor < 0 && errno == EINTR);
    if (stream->descriptor < 0) return -errno;
    int failed = identify(stream);
    if (!failed && stream->device == device && stream->inode == inode) {
        stream->state = OPEN;
        return 0;
    }
    close(stream->descriptor);
    stream->descriptor = -1, stream->device = device, stream->inode = inode;
    return failed ? failed : -EEXIST; /* somebody has replaced it */
}

static int write_all(int descriptor, struct iovec *pieces, int count, int64_t offset) {
    while (count) {
        ssize_t done = pwritev(descriptor, pieces, count, offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return done ? -errno : -EIO;
        offset += done;
        while (count && (size_t)done >= pieces->iov_len) done -= (ssize_t)pieces->iov_len, pieces++, count--;
        if (count) {
            pieces->iov_base = (char *)pieces->iov_base + done;
            pieces->iov_len -= (size_t)done;
        }
    }
    return 0;
}

/* One file is made, and it is known which it is. 0, or -errno. */
int make_one(const struct facts *facts, struct plain *table, int64_t slot) {
    int failed = make(table + slot, facts);
    return failed ? failed : identify(table + slot);
}

/* Pieces [first, behind), which continue one another, as few calls as there can be. */
static int write_run(
    int descriptor, int64_t first, int64_t behind, const int64_t *offset, const int64_t *low, const int64_t *high,
    const uint64_t *address, const uint32_t *sizes
) {
    struct iovec rows[MOST_PIECES];
    int64_t at = offset[first], together = 0;
    int count = 0, failed = 0;
    for (int64_t i = first; i < behind && !failed; i++) {
        for (int64_t row = low[i]; row < high[i] && !failed; row++) {
            rows[count].iov_base = (void *)(uintptr_t)address[row];
            rows[count].iov_len = sizes[row];
            together += sizes[row];
            if (++count == MOST_PIECES) {
                failed = write_all(descriptor, rows, count, at);
                at += together, together = 0, count = 0;
            }
        }
    }
    return failed || !count ? failed : write_all(descriptor, rows, count, at);
}

/* Pieces, each the rows [low, high), to their places. A file that is not there is made, one that was shut is opened
   again; with ``keep`` such a one stays open, else it is shut behind its last piece here, and its identity known.
   Those that continue one another are written as one. result: 0, or -errno and nothing is said of the piece, and LEFT
   of its stream's further ones. */
void write_pieces(
    const struct facts *facts, struct plain *table, int64_t count, const int64_t *slots, const int64_t *offset,
    const int64_t *low, const int64_t *high, const int64_t *size, const uint64_t *address, const uint32_t *sizes,
    int32_t keep, int32_t *result
) {
    for (int64_t i = 0, next, opened = 0; i < count; i = next) {
        struct plain *stream = table + slots[i];
        int goes_on = i && slots[i] == slots[i - 1], failed = 0;
        int64_t together = size[i];
        for (next = i + 1; next < count && slots[next] == slots[i] && offset[next] == offset[i] + together; next++)
            together += size[next];
        if (!goes_on) opened = stream->state != OPEN;
        if (stream->state == BROKEN || (goes_on && result[i - 1])) failed = LEFT;
        else if (stream->state == BEGUN) failed = make(stream, facts);
        else if (stream->state == SHUT) failed = reopen(stream, facts);
        if (!failed) {
            failed = write_run(stream->descriptor, i, next, offset, low, high, address, sizes);
            if (!failed) stream->size += together;
        }
        int more = next < count && slots[next] == slots[i];
        if (!failed && opened && !keep && !more) {
            failed = identify(stream);
            if (!failed) failed = shut_one(stream);
        }
        for (int64_t each = i; each < next; each++) result[each] = failed && each > i ? LEFT : failed;
    }
}

static int is_there(int descriptor, const char *bytes, int64_t size, int64_t offset) {
    char found[READ];
    while (size) {
        ssize_t done = pread(descriptor, found, (size_t)(size < READ ? size : READ), offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0 || memcmp(found, bytes, (size_t)done)) return 0;
        bytes += done, size -= done, offset += done;
    }
    return 1;
}

/* Whether files have these bytes at these places. result: 1, or 0: they have others, or could not be read. */
void compare(
    const struct facts *facts, struct plain *table, int64_t count, const int64_t *slots, const int64_t *offset,
    const uint64_t *address, const uint32_t *size, int32_t *result
) {
    for (int64_t i = 0; i < count; i++) {
        struct plain *stream = table + slots[i];
        int again = stream->state == SHUT;
        if (again) reopen(stream, facts);
        result[i] = stream->state == OPEN &&
            is_there(stream->descriptor, (const char *)(uintptr_t)address[i], size[i], offset[i]);
        if (again && stream->state == OPEN) shut_one(stream);
    }
}

/* Close files that are open, and remember which they are. result: 0 or -errno. */
void shut(struct plain *table, int64_t count, const int64_t *slots, int32_t *result) {
    for (int64_t i = 0; i < count; i++) {
        struct plain *stream = table + slots[i];
        int unknown = identify(stream), failed = shut_one(stream);
        result[i] = unknown ? unknown : failed;
    }
}

/* Files are complete: their modification times, if the system takes them, and closed. result: 0 or -errno. */
void finish(
    const struct facts *facts, struct plain *table, int64_t count, const int64_t *slots, const int64_t *times,
    int32_t *result
) {
    for (int64_t i = 0; i < count; i++) {
        struct plain *stream = table + slots[i];
        struct timespec stamp[2];
        stamp[0].tv_sec = stamp[1].tv_sec = seconds(times[i]);
        stamp[0].tv_nsec = stamp[1].tv_nsec = times[i] - seconds(times[i]) * BILLION;
        result[i] = 0;
        if (stream->state == OPEN) {
            (void)!futimens(stream->descriptor, stamp);
            result[i] = shut_one(stream);
        } else {
            char name[NAME_ROOM];
            *put_name(name, stream, facts) = 0;
            (void)!utimensat(facts->folder, name, stamp, AT_SYMLINK_NOFOLLOW);
        }
    }
}

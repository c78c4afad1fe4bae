/* Files of plain streams, many in a call: what twin.py does one by one.

   Knows: how a file is made, written, stamped and closed. Does not know: Python, which streams are plain, what to do when
   the system refuses something: it says so and leaves the piece to others.
   Invariant: nothing is read beyond the rows it was given; a file is made new (O_EXCL), no link is followed.

   The caller has checked that all addresses lie in memory of its own. */

#define _GNU_SOURCE
#include "plain.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MOST_PIECES 1024 /* of one call: IOV_MAX */

enum { KEEP = 1, IDENTIFY = 2, MAKE_ONLY = 4 };
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
    return close(descriptor) && errno != EINTR ? -errno : 0;
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

static int write_rows(int descriptor, const uint64_t *address, const uint32_t *size, int64_t count, int64_t offset) {
    struct iovec pieces[MOST_PIECES];
    while (count) {
        int lot = count < MOST_PIECES ? (int)count : MOST_PIECES;
        int64_t together = 0;
        for (int i = 0; i < lot; i++) {
            pieces[i].iov_base = (void *)(uintptr_t)address[i];
            pieces[i].iov_len = size[i];
            together += size[i];
        }
        int failed = write_all(descriptor, pieces, lot, offset);
        if (failed) return failed;
        offset += together, address += lot, size += lot, count -= lot;
    }
    return 0;
}

/* Pieces, each the rows [low, high), to their places. A file that is not there is made; such a one stays open with KEEP,
   else it is shut behind its last piece here, and its identity known. result: 0, or -errno and nothing is said of the
   piece, nor of its stream's further ones (LEFT). */
void write_pieces(
    const struct facts *facts, struct plain *table, int64_t count, const int64_t *slots, const int64_t *offset,
    const int64_t *low, const int64_t *high, const int64_t *size, const uint64_t *address, const uint32_t *sizes,
    int32_t flags, int32_t *result
) {
    for (int64_t i = 0, made = 0; i < count; i++) {
        struct plain *stream = table + slots[i];
        int failed = stream->state > OPEN ? LEFT : 0;
        if (!i || slots[i] != slots[i - 1]) made = 0;
        if (stream->state == BEGUN) {
            made = 1;
            failed = make(stream, facts);
            if (!failed && flags & IDENTIFY) failed = identify(stream);
        }
        if (!failed && !(flags & MAKE_ONLY)) {
            failed = write_rows(stream->descriptor, address + low[i], sizes + low[i], high[i] - low[i], offset[i]);
            if (!failed) stream->size += size[i];
        }
        int more = i + 1 < count && slots[i + 1] == slots[i];
        if (!failed && made && !(flags & KEEP) && !more) {
            failed = identify(stream);
            if (!failed) failed = shut_one(stream);
        }
        if (failed && failed != LEFT) stream->state = BROKEN;
        result[i] = failed;
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

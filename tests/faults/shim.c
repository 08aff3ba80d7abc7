/* Faults of the disk and of the process, at a chosen system call: preloaded into a server by tests, never by anyone else.
 *
 * The environment says FAULTS_ROOT, the data directory: calls on files outside it are passed on untouched; FAULTS_RULE,
 * a file that may appear, change and vanish at any time: without it nothing happens; FAULTS_FIRED, a file that gets a
 * line for each fault. The rule is one line:
 *
 *     NTH COUNT PAUSE ACTION CALLS PATTERN
 *
 * From the NTH call on that is one of CALLS (letters, below) and whose path matches PATTERN (fnmatch), COUNT times
 * (0: for ever): wait PAUSE milliseconds, then ACTION. A new rule file counts from the beginning.
 *
 * CALLS   w  a write (any of write, writev, pwrite, pwritev) that is not h
 *         h  the write of LMDB's meta page: that which commits a transaction
 *         s  fsync, fdatasync
 *         t  ftruncate
 *         r  rename     l  link     m  mkdir
 * ACTION  kill        SIGKILL to this process before the call
 *         kill-after  ... after it
 *         tear        write half of it, then SIGKILL
 *         stop        SIGSTOP before the call, which is made when the process goes on
 *         short       write half of it and say so
 *         EIO, ENOSPC  fail without having done anything
 *         EIO-after   do it and fail all the same
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define META_SIZE 512     /* LMDB's meta record is smaller, its data pages are larger */
#define META_PAGES 8192   /* the meta pages are the first two */
#define MAX_PARTS 1024    /* IOV_MAX of Linux */

enum action { NONE, KILL, KILL_AFTER, TEAR, STOP, SHORT, FAIL, FAIL_AFTER };

struct rule {
    long nth, count, pause;
    enum action action;
    int error;
    char name[16], calls[16], pattern[PATH_MAX];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct rule rule;
static struct stat rule_stat;
static long seen;

#define REAL(name)                                                                                                     \
    static __typeof__(&name) real;                                                                                     \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int parse(const char *line)
{
    static const struct { const char *name; enum action action; int error; } actions[] = {
        {"kill", KILL, 0}, {"kill-after", KILL_AFTER, 0}, {"tear", TEAR, 0}, {"stop", STOP, 0}, {"short", SHORT, 0},
        {"EIO", FAIL, EIO}, {"ENOSPC", FAIL, ENOSPC}, {"EIO-after", FAIL_AFTER, EIO},
    };
    if (sscanf(line, "%ld %ld %ld %15s %15s %4095s", &rule.nth, &rule.count, &rule.pause, rule.name, rule.calls,
               rule.pattern) != 6)
        return 0;
    for (size_t each = 0; each < sizeof actions / sizeof actions[0]; each++)
        if (strcmp(actions[each].name, rule.name) == 0) {
            rule.action = actions[each].action;
            rule.error = actions[each].error;
            return 1;
        }
    return 0;
}

/* Whether there is a rule; it is read anew where the file is another. Called with the mutex held. */
static int have_rule(void)
{
    const char *path = getenv("FAULTS_RULE");
    struct stat now;
    char line[PATH_MAX + 128];
    if (path == NULL || stat(path, &now) != 0) return 0;
    if (now.st_ino == rule_stat.st_ino && now.st_mtim.tv_sec == rule_stat.st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == rule_stat.st_mtim.tv_nsec)
        return rule.action != NONE;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? -1 : read(file, line, sizeof line - 1);
    if (file >= 0) close(file);
    rule_stat = now;
    seen = 0;
    line[size < 0 ? 0 : size] = '\0';
    if (!parse(line)) rule.action = NONE;
    return rule.action != NONE;
}

static void tell(char call, const char *path)
{
    const char *log = getenv("FAULTS_FIRED");
    char line[PATH_MAX + 64];
    int file = log == NULL ? -1 : open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) return;
    int size = snprintf(line, sizeof line, "%s %c %s\n", rule.name, call, path);
    syscall(SYS_write, file, line, (size_t)size);
    close(file);
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* What is to be done at this call; *error is then errno. What comes before the call has been done. */
static enum action decide(char call, const char *path, int *error)
{
    const char *root = getenv("FAULTS_ROOT");
    enum action action = NONE;
    long wait = 0;
    if (root == NULL || strncmp(path, root, strlen(root)) != 0) return NONE;
    pthread_mutex_lock(&mutex);
    if (have_rule() && strchr(rule.calls, call) != NULL && fnmatch(rule.pattern, path, 0) == 0) {
        seen++;
        if (seen >= rule.nth && (rule.count == 0 || seen < rule.nth + rule.count)) {
            action = rule.action;
            *error = rule.error;
            wait = rule.pause;
            tell(call, path);
        }
    }
    pthread_mutex_unlock(&mutex);
    if (wait > 0) {
        struct timespec time = {wait / 1000, wait % 1000 * 1000000};
        nanosleep(&time, NULL);
    }
    if (action == KILL) die();
    if (action == STOP) kill(getpid(), SIGSTOP);
    return action;
}

static enum action decide_fd(char call, int fd, int *error)
{
    char link[64], path[PATH_MAX];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    errno = before;
    if (size < 0) return NONE;
    path[size] = '\0';
    if (call == 'h' && fnmatch("*/data.mdb", path, 0) != 0) call = 'w';
    enum action action = decide(call, path, error);
    errno = before;
    return action;
}

static size_t total(const struct iovec *parts, int count)
{
    size_t size = 0;
    for (int each = 0; each < count; each++) size += parts[each].iov_len;
    return size;
}

/* The first half of parts, into half; how many these are. */
static int halve(const struct iovec *parts, int count, struct iovec *half)
{
    size_t left = total(parts, count) / 2;
    int taken = 0;
    while (taken < count && taken < MAX_PARTS && left > 0) {
        half[taken] = parts[taken];
        if (half[taken].iov_len > left) half[taken].iov_len = left;
        left -= half[taken++].iov_len;
    }
    return taken;
}

/* All four ways to write. at: the offset, -1 where the file's own counts. */
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t at)
{
    struct iovec half[MAX_PARTS];
    int error = 0;
    int is_meta = at >= 0 && at < META_PAGES && total(parts, count) <= META_SIZE;
    enum action action = decide_fd(is_meta ? 'h' : 'w', fd, &error);
    if (action == FAIL) {
        errno = error;
        return -1;
    }
    if (action == TEAR || action == SHORT) {
        count = halve(parts, count, half);
        parts = half;
    }
    ssize_t result = at < 0 ? syscall(SYS_writev, fd, parts, (long)count)
                            : syscall(SYS_pwritev, fd, parts, (long)count, (long)at, 0L);
    if (action == TEAR || action == KILL_AFTER) die();
    if (action == FAIL_AFTER) {
        errno = error;
        return -1;
    }
    return result;
}

ssize_t write(int fd, const void *data, size_t size)
{
    struct iovec part = {(void *)data, size};
    return write_parts(fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return write_parts(fd, parts, count, -1);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    struct iovec part = {(void *)data, size};
    return write_parts(fd, &part, 1, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at)
{
    return write_parts(fd, parts, count, at);
}

#if __SIZEOF_LONG__ == 8 /* off_t is off64_t */
ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    return pwrite64(fd, data, size, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    return pwritev64(fd, parts, count, at);
}
#endif

/* The calls that are done or not, with no halves. */
static int done(enum action action, int result, int error)
{
    if (action == KILL_AFTER || action == TEAR) die();
    if (action == FAIL_AFTER) {
        errno = error;
        return -1;
    }
    return result;
}

#define AROUND(action, call)                                                                                           \
    if (action == FAIL) {                                                                                              \
        errno = error;                                                                                                 \
        return -1;                                                                                                     \
    }                                                                                                                  \
    return done(action, call, error)

int fsync(int fd)
{
    REAL(fsync);
    int error = 0;
    enum action action = decide_fd('s', fd, &error);
    AROUND(action, real(fd));
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    int error = 0;
    enum action action = decide_fd('s', fd, &error);
    AROUND(action, real(fd));
}

int ftruncate64(int fd, off64_t length)
{
    REAL(ftruncate64);
    int error = 0;
    enum action action = decide_fd('t', fd, &error);
    AROUND(action, real(fd, length));
}

#if __SIZEOF_LONG__ == 8
int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}
#endif

int rename(const char *from, const char *to)
{
    REAL(rename);
    int error = 0;
    enum action action = decide('r', to, &error);
    AROUND(action, real(from, to));
}

int link(const char *from, const char *to)
{
    REAL(link);
    int error = 0;
    enum action action = decide('l', to, &error);
    AROUND(action, real(from, to));
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags)
{
    REAL(linkat);
    int error = 0;
    enum action action = decide('l', to, &error);
    AROUND(action, real(from_directory, from, to_directory, to, flags));
}

int mkdir(const char *path, mode_t mode)
{
    REAL(mkdir);
    int error = 0;
    enum action action = decide('m', path, &error);
    AROUND(action, real(path, mode));
}

/*
 * bare_ring: the least work that one thread with io_uring can do and still echo over streams. One request accepts every client
 * (multishot), one receives all that a client says, into buffers of a ring that the kernel chooses from, and each answer is one
 * send from the buffer that it arrived in. See bare.c for what it leaves out. Without liburing: the rings are mapped here.
 *
 *     bare_ring tcp|unix [PATH]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { ENTRIES = 4096, COMPLETIONS = 4 * ENTRIES, BUFFERS = 4096, BUFFER = 4096, GROUP = 0 };
enum operation { ACCEPT, RECEIVE, SEND };

static int ring, listener, is_inet;
static unsigned *submit_head, *submit_tail, submit_mask, submit_next, submit_told;
static unsigned *complete_head, *complete_tail, complete_mask;
static struct io_uring_sqe *requests;
static struct io_uring_cqe *completions;
static struct io_uring_buf_ring *free_buffers;
static uint16_t buffers_given;
static char *memory;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void enter(unsigned wait_for) {
    __atomic_store_n(submit_tail, submit_next, __ATOMIC_RELEASE);
    unsigned flags = wait_for > 0 ? IORING_ENTER_GETEVENTS : 0;
    long submitted = syscall(SYS_io_uring_enter, ring, submit_next - submit_told, wait_for, flags, NULL, 0);
    if (submitted < 0 && errno != EINTR && errno != EBUSY && errno != EAGAIN) fail("io_uring_enter");
    if (submitted > 0) submit_told += (unsigned)submitted;
}

static void request(enum operation operation, int fd, unsigned buffer, struct io_uring_sqe wanted) {
    while (submit_next - __atomic_load_n(submit_head, __ATOMIC_ACQUIRE) == ENTRIES) enter(0);
    wanted.fd = fd;
    wanted.user_data = (uint64_t)operation << 56 | (uint64_t)buffer << 32 | (uint32_t)fd;
    requests[submit_next++ & submit_mask] = wanted;
}

static void accept_all(void) {
    request(ACCEPT, listener, 0, (struct io_uring_sqe){.opcode = IORING_OP_ACCEPT, .ioprio = IORING_ACCEPT_MULTISHOT});
}

static void receive_all(int fd) {
    request(RECEIVE, fd, 0,
            (struct io_uring_sqe){.opcode = IORING_OP_RECV, .ioprio = IORING_RECV_MULTISHOT, .flags = IOSQE_BUFFER_SELECT, .buf_group = GROUP});
}

static void give_buffer(unsigned number) {
    struct io_uring_buf *place = &free_buffers->bufs[buffers_given++ & (BUFFERS - 1)];
    place->addr = (uint64_t)(uintptr_t)(memory + (size_t)number * BUFFER);
    place->len = BUFFER;
    place->bid = (uint16_t)number;
    __atomic_store_n(&free_buffers->tail, buffers_given, __ATOMIC_RELEASE);
}

static void *map(size_t length, int fd, off_t offset) {
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED | MAP_POPULATE;
    void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, offset);
    if (at == MAP_FAILED) fail("mmap");
    return at;
}

static void make_ring(void) {
    struct io_uring_params wanted = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP, .cq_entries = COMPLETIONS};
    ring = (int)syscall(SYS_io_uring_setup, ENTRIES, &wanted);
    if (ring < 0) fail("io_uring_setup");
    char *submit = map(wanted.sq_off.array + wanted.sq_entries * sizeof(unsigned), ring, IORING_OFF_SQ_RING);
    char *complete = map(wanted.cq_off.cqes + wanted.cq_entries * sizeof *completions, ring, IORING_OFF_CQ_RING);
    requests = map(wanted.sq_entries * sizeof *requests, ring, IORING_OFF_SQES);
    submit_head = (unsigned *)(submit + wanted.sq_off.head);
    submit_tail = (unsigned *)(submit + wanted.sq_off.tail);
    submit_mask = *(unsigned *)(submit + wanted.sq_off.ring_mask);
    complete_head = (unsigned *)(complete + wanted.cq_off.head);
    complete_tail = (unsigned *)(complete + wanted.cq_off.tail);
    complete_mask = *(unsigned *)(complete + wanted.cq_off.ring_mask);
    completions = (struct io_uring_cqe *)(complete + wanted.cq_off.cqes);
    /* Requests are used in the order in which they are written. */
    for (unsigned i = 0; i < wanted.sq_entries; i++) ((unsigned *)(submit + wanted.sq_off.array))[i] = i;

    free_buffers = map(BUFFERS * sizeof(struct io_uring_buf), -1, 0);
    memory = map((size_t)BUFFERS * BUFFER, -1, 0);
    struct io_uring_buf_reg group = {.ring_addr = (uint64_t)(uintptr_t)free_buffers, .ring_entries = BUFFERS, .bgid = GROUP};
    if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_PBUF_RING, &group, 1)) fail("io_uring_register");
    for (unsigned i = 0; i < BUFFERS; i++) give_buffer(i);
}

static void complete(const struct io_uring_cqe *done) {
    int fd = (int)(uint32_t)done->user_data, one = 1;
    switch ((enum operation)(done->user_data >> 56)) {
    case ACCEPT:
        if (done->res >= 0) {
            if (is_inet) setsockopt(done->res, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            receive_all(done->res);
        }
        if (!(done->flags & IORING_CQE_F_MORE)) accept_all();
        break;
    case RECEIVE: {
        if (done->res > 0) {
            unsigned buffer = done->flags >> IORING_CQE_BUFFER_SHIFT;
            request(SEND, fd, buffer,
                    (struct io_uring_sqe){.opcode = IORING_OP_SEND, .addr = (uint64_t)(uintptr_t)(memory + (size_t)buffer * BUFFER),
                                          .len = (unsigned)done->res, .msg_flags = MSG_NOSIGNAL | MSG_WAITALL});
            if (!(done->flags & IORING_CQE_F_MORE)) receive_all(fd);
        } else if (done->res == -ENOBUFS) {
            receive_all(fd);
        } else {
            close(fd);
        }
        break;
    }
    case SEND: give_buffer((unsigned)(done->user_data >> 32) & 0xffffff); break;
    }
}

int main(int count, char **words) {
    if (count < 2) {
        fprintf(stderr, "bare_ring: see the top of benches/bare_ring.c\n");
        return 64;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    is_inet = !strcmp(words[1], "tcp");
    listener = socket(is_inet ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un file = {.sun_family = AF_UNIX};
    strncpy(file.sun_path, count > 2 ? words[2] : "", sizeof file.sun_path - 1);
    if (is_inet ? bind(listener, (void *)&inet, sizeof inet) : bind(listener, (void *)&file, sizeof file)) fail("bind");
    if (listen(listener, 4096)) fail("listen");
    make_ring();
    accept_all();
    socklen_t length = sizeof inet;
    if (is_inet) getsockname(listener, (void *)&inet, &length);
    printf("%d\n", is_inet ? ntohs(inet.sin_port) : 0);
    fclose(stdout);
    for (;;) {
        enter(1);
        unsigned head = *complete_head, tail = __atomic_load_n(complete_tail, __ATOMIC_ACQUIRE);
        for (; head != tail; head++) complete(&completions[head & complete_mask]);
        __atomic_store_n(complete_head, head, __ATOMIC_RELEASE);
    }
}

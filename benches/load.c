/*
 * load: clients of an echo server, which send, wait for the whole answer, compare it, and send again.
 *
 *     load [OPTION ...] tcp|udp IP PORT
 *     load [OPTION ...] unix|unix-datagram PATH
 *
 *     --clients N    how many send at the same time (1)
 *     --idle N       how many more connections are open and silent meanwhile (0)
 *     --size N       bytes in a message (64)
 *     --depth N      messages of a stream client in flight (1)
 *     --seconds S    for how long (1)
 *     --reconnect    a connection for each message
 *     --bulk N       one connection sends N bytes and reads at the same time, instead of all this
 *     --sources N    one datagram from each of N addresses of 127.0.0.0/8, instead of all this
 *
 * Prints `connected`, begins when a line has come from standard input or that has ended, and prints one line of JSON. Its
 * connections stay until standard input ends. A wrong byte or a broken connection ends the run with exit code 1; a datagram that is not answered
 * within 200 ms is counted as lost and sent again.
 *
 * The clients of a stream close first, and politely; their source addresses differ, so that ports do not run out.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const uint64_t SECOND = 1000000000, LOST_AFTER = SECOND / 5;
enum { PATTERN = 1 << 16, EVENTS = 256, SOURCES = 200 };

struct client {
    int fd;
    uint32_t turn;       /* which message this is: it decides where in the pattern the message begins */
    size_t sent, echoed; /* bytes of this turn */
    uint64_t begun;
};

/* What was asked for. */
static int clients = 1, idle = 0, depth = 1, reconnect = 0, datagrams = 0;
static size_t size = 64, bulk = 0;
static uint32_t sources = 0;
static double seconds = 1;
static struct sockaddr_storage server;
static socklen_t server_length;

/* What was seen. */
static uint64_t echoes, lost;

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

/* Twice the pattern, so that a message may begin anywhere in it. Its period is no power of two: a shifted block shows. */
static const unsigned char *pattern(size_t at) {
    static unsigned char bytes[2 * PATTERN];
    if (bytes[1] == 0)
        for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(1 + (i % 251));
    return bytes + at % 251;
}

/* ---- A histogram: 128 steps for each doubling, so that a value is off by less than a hundredth. ---- */

static uint64_t steps[64 * 128];

static void record(uint64_t time) {
    int shift = time < 256 ? 0 : 56 - __builtin_clzll(time);
    steps[((unsigned)shift << 7) + (time >> shift)]++;
}

static double quantile(double part) {
    uint64_t all = 0, below = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) all += steps[i];
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        below += steps[i];
        if (below > 0 && (double)below >= part * (double)all) {
            unsigned shift = i < 256 ? 0 : (unsigned)(i >> 7) - 1;
            return (double)((uint64_t)(i - ((size_t)shift << 7)) << shift);
        }
    }
    return 0;
}

/* ---- Connections. ---- */

static int dial(void) {
    static uint32_t dialled;
    int fd = socket(server.ss_family, datagrams ? SOCK_DGRAM : SOCK_STREAM, 0), one = 1;
    if (fd < 0) fail("socket");
    if (server.ss_family == AF_INET && !datagrams) {
        /* The kernel chooses a port when it knows the peer, so each source address has all of them. */
        struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000101 + dialled++ % SOURCES)};
        setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&source, sizeof source)) fail("bind");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    if (server.ss_family == AF_UNIX && datagrams) {
        /* A name that the kernel chooses, for the answers. */
        sa_family_t family = AF_UNIX;
        if (bind(fd, (struct sockaddr *)&family, sizeof family)) fail("bind");
    }
    if (connect(fd, (struct sockaddr *)&server, server_length)) fail("connect");
    if (fcntl(fd, F_SETFL, O_NONBLOCK)) fail("fcntl");
    return fd;
}

static void watch(int poller, int fd, uint32_t number) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

/* Whoever measures the server looks at it first, which may take a while. */
static void wait_for_start(void) {
    puts("connected");
    fflush(stdout);
    for (int c; (c = getchar()) != EOF && c != '\n';) {}
}

/* ---- One turn of a client: `depth` messages out, as many bytes back. ---- */

static size_t whole(void) { return datagrams ? size : size * (size_t)depth; }

static void push(struct client *client) {
    while (client->sent < whole()) {
        size_t in_message = client->sent % size, most = size - in_message;
        ssize_t n = send(client->fd, pattern(client->turn) + in_message, most, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) return;
        if (n < 0) fail("send");
        client->sent += (size_t)n;
    }
}

static void begin(struct client *client) {
    client->sent = client->echoed = 0;
    client->begun = now();
    push(client);
}

/* Reads what has come; whether the turn is over. */
static int pull(struct client *client) {
    static unsigned char buffer[PATTERN];
    for (;;) {
        ssize_t n = recv(client->fd, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EAGAIN) return 0;
        if (n < 0) fail("recv");
        if (datagrams && (size_t)n != size) { errno = EBADMSG; fail("the length of an answer"); }
        if (n == 0) { errno = ECONNRESET; fail("recv"); }
        for (size_t at = 0; at < (size_t)n;) {
            size_t in_message = (client->echoed + at) % size, part = size - in_message;
            if (part > (size_t)n - at) part = (size_t)n - at;
            if (memcmp(buffer + at, pattern(client->turn) + in_message, part)) {
                /* The answer to a datagram that was given up. */
                if (datagrams && lost > 0) return 0;
                errno = EBADMSG;
                fail("a byte of an answer");
            }
            at += part;
        }
        client->echoed += (size_t)n;
        if (client->echoed == whole()) return 1;
        push(client);
    }
}

static void run_clients(void) {
    int poller = epoll_create1(0);
    struct client *all = calloc((size_t)clients, sizeof *all);
    if (poller < 0 || all == NULL) fail("begin");
    /* Each of those that will be silent has had its answer, so the server has accepted them all. */
    for (int i = 0; i < idle; i++) {
        struct client silent = {.fd = dial()};
        fcntl(silent.fd, F_SETFL, 0);
        char byte = 'x';
        if (send(silent.fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(silent.fd, &byte, 1, 0) != 1) fail("a silent connection");
    }
    for (int i = 0; i < clients; i++) {
        all[i].fd = dial();
        watch(poller, all[i].fd, (uint32_t)i);
    }
    wait_for_start();
    for (int i = 0; i < clients; i++) begin(&all[i]);
    uint64_t start = now(), end = start + (uint64_t)(seconds * 1e9), time = start, looked = start;
    while (time < end) {
        struct epoll_event ready[EVENTS];
        int count = epoll_wait(poller, ready, EVENTS, 100);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct client *client = &all[ready[i].data.u32];
            if (!pull(client)) continue;
            record(now() - client->begun);
            echoes += datagrams ? 1 : (uint64_t)depth;
            client->turn++;
            if (reconnect) {
                close(client->fd);
                client->fd = dial();
                watch(poller, client->fd, ready[i].data.u32);
            }
            begin(client);
        }
        time = now();
        if (!datagrams || time - looked < LOST_AFTER) continue;
        looked = time;
        for (int i = 0; i < clients; i++) {
            if (time - all[i].begun < LOST_AFTER) continue;
            lost++;
            all[i].turn++;
            begin(&all[i]);
        }
    }
    printf("{\"echoes\": %lu, \"seconds\": %.6f, \"p50\": %.3f, \"p99\": %.3f, \"lost\": %lu}\n", echoes, (double)(time - start) / 1e9,
           quantile(0.5) / 1e3, quantile(0.99) / 1e3, lost);
}

/* One connection, as much as it takes in both directions. */
static void run_bulk(void) {
    static unsigned char buffer[PATTERN];
    int fd = dial(), poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT};
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll");
    size_t sent = 0, received = 0;
    wait_for_start();
    uint64_t start = now();
    while (received < bulk) {
        if (epoll_wait(poller, &event, 1, -1) < 0) fail("epoll_wait");
        while (sent < bulk) {
            size_t part = bulk - sent < PATTERN ? bulk - sent : PATTERN;
            ssize_t n = send(fd, pattern(sent), part, MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN) fail("send");
            if (n < 0) break;
            sent += (size_t)n;
        }
        if (sent == bulk) {
            event.events = EPOLLIN;
            epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
        }
        for (;;) {
            ssize_t n = recv(fd, buffer, sizeof buffer, 0);
            if (n < 0 && errno == EAGAIN) break;
            if (n <= 0) fail("recv");
            if (memcmp(buffer, pattern(received), (size_t)n)) { errno = EBADMSG; fail("a byte of an answer"); }
            received += (size_t)n;
        }
    }
    printf("{\"bytes\": %zu, \"seconds\": %.6f}\n", received, (double)(now() - start) / 1e9);
}

/* One socket that sends in the name of many addresses (IP_PKTINFO), and reads nothing until the end. */
static void run_sources(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0) fail("socket");
    union { char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))]; struct cmsghdr align; } control;
    struct iovec payload = {(void *)(uintptr_t)pattern(0), size};
    struct msghdr message = {.msg_name = &server, .msg_namelen = server_length, .msg_iov = &payload, .msg_iovlen = 1,
                             .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO, .cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo))};
    wait_for_start();
    uint64_t start = now();
    for (uint32_t i = 0; i < sources; i++) {
        /* 127.1.0.0 and up. */
        struct in_pktinfo source = {.ipi_spec_dst.s_addr = htonl(0x7f010000 + i)};
        memcpy(CMSG_DATA(header), &source, sizeof source);
        if (sendmsg(fd, &message, 0) < 0 && errno != ENOBUFS && errno != ECONNREFUSED) fail("sendmsg");
    }
    printf("{\"sources\": %u, \"seconds\": %.6f}\n", sources, (double)(now() - start) / 1e9);
}

static void parse(int count, char **words) {
    static const struct option options[] = {
        {"clients", 1, 0, 'c'}, {"idle", 1, 0, 'i'},      {"size", 1, 0, 's'}, {"depth", 1, 0, 'd'},   {"seconds", 1, 0, 't'},
        {"bulk", 1, 0, 'b'},    {"reconnect", 0, 0, 'r'}, {"sources", 1, 0, 'n'}, {0, 0, 0, 0}};
    for (int option; (option = getopt_long(count, words, "", options, NULL)) != -1;) switch (option) {
        case 'c': clients = atoi(optarg); break;
        case 'i': idle = atoi(optarg); break;
        case 's': size = strtoul(optarg, NULL, 10); break;
        case 'd': depth = atoi(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'b': bulk = strtoul(optarg, NULL, 10); break;
        case 'n': sources = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'r': reconnect = 1; break;
        default: exit(64);
    }
    if (optind + 1 >= count || size < 1 || size > PATTERN - 251 || clients < 1) {
        fprintf(stderr, "load: see the top of benches/load.c\n");
        exit(64);
    }
    const char *protocol = words[optind], *place = words[optind + 1];
    datagrams = !strcmp(protocol, "udp") || !strcmp(protocol, "unix-datagram");
    if (!strncmp(protocol, "unix", 4)) {
        struct sockaddr_un *unix_server = (struct sockaddr_un *)&server;
        unix_server->sun_family = AF_UNIX;
        strncpy(unix_server->sun_path, place, sizeof unix_server->sun_path - 1);
        server_length = sizeof *unix_server;
    } else {
        struct sockaddr_in *inet_server = (struct sockaddr_in *)&server;
        inet_server->sin_family = AF_INET;
        inet_server->sin_port = htons((uint16_t)(optind + 2 < count ? atoi(words[optind + 2]) : 7));
        if (inet_pton(AF_INET, place, &inet_server->sin_addr) != 1) fail(place);
        server_length = sizeof *inet_server;
    }
}

int main(int count, char **words) {
    parse(count, words);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (bulk > 0) run_bulk();
    else if (sources > 0) run_sources();
    else run_clients();
    fflush(stdout);
    while (getchar() != EOF) {}
}

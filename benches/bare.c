/*
 * bare: the least work that each way of serving can do and still echo. Nothing is logged, counted or limited, an answer that does
 * not fit the socket is lost, and an error ends the connection without a word. A server is held against these loops, on the same
 * machine and in the same minute.
 *
 *     bare LOOP PROTOCOL [PATH]
 *
 *     thread      a thread for each connection         recvfrom    a datagram at a time
 *     process     a process for each connection        recvmmsg    64 datagrams at a time
 *     select, poll, epoll    one thread for all connections
 *
 * PROTOCOL is tcp, udp, unix or unix-datagram. It binds 127.0.0.1 and a port that the kernel chooses, prints the port, and closes
 * standard output once it serves.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BUFFER = 1 << 15, BATCH = 64, DATAGRAM = 2048 };

static char buffer[1 << 16];
static int is_inet, is_datagram;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int accept_client(int listener, int flags) {
    int fd = accept4(listener, NULL, NULL, flags | SOCK_CLOEXEC), one = 1;
    if (fd >= 0 && is_inet) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* ---- One client at a time, in a thread or a process of its own. ---- */

static void serve(int fd, char *memory, size_t length) {
    for (ssize_t n; (n = recv(fd, memory, length, 0)) > 0;)
        for (ssize_t at = 0, sent; at < n; at += sent)
            if ((sent = send(fd, memory + at, (size_t)(n - at), MSG_NOSIGNAL)) <= 0) return;
}

static void *serve_thread(void *fd) {
    char memory[BUFFER];
    serve((int)(intptr_t)fd, memory, sizeof memory);
    close((int)(intptr_t)fd);
    return NULL;
}

static void thread_loop(int listener) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 2 * BUFFER);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (pthread_t thread;;) {
        int fd = accept_client(listener, 0);
        if (fd >= 0 && pthread_create(&thread, &attributes, serve_thread, (void *)(intptr_t)fd)) close(fd);
    }
}

static void reap(int signal) {
    int before = errno;
    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0) {}
    errno = before;
}

static void process_loop(int listener) {
    struct sigaction action = {.sa_handler = reap, .sa_flags = SA_RESTART};
    sigaction(SIGCHLD, &action, NULL);
    for (;;) {
        int fd = accept_client(listener, 0);
        if (fd < 0) continue;
        if (fork() == 0) {
            close(listener);
            serve(fd, buffer, BUFFER);
            _exit(0);
        }
        close(fd);
    }
}

/* ---- One thread for all of them. ---- */

/* Whether the client stays. */
static int answer(int fd) {
    ssize_t n = recv(fd, buffer, BUFFER, 0);
    return n > 0 && send(fd, buffer, (size_t)n, MSG_NOSIGNAL) == n;
}

static void select_loop(int listener) {
    fd_set watched, ready;
    int highest = listener;
    FD_ZERO(&watched);
    FD_SET(listener, &watched);
    for (;;) {
        ready = watched;
        if (select(highest + 1, &ready, NULL, NULL, NULL) < 0) continue;
        for (int fd = 0, end = highest; fd <= end; fd++) {
            if (!FD_ISSET(fd, &ready)) continue;
            if (fd != listener) {
                if (answer(fd)) continue;
                close(fd);
                FD_CLR(fd, &watched);
                continue;
            }
            int client = accept_client(listener, SOCK_NONBLOCK);
            if (client >= FD_SETSIZE) close(client);
            else if (client >= 0) {
                FD_SET(client, &watched);
                if (client > highest) highest = client;
            }
        }
    }
}

static void poll_loop(int listener) {
    static struct pollfd watched[1 << 15];
    nfds_t count = 1;
    watched[0] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (;;) {
        int left = poll(watched, count, -1);
        for (nfds_t i = count; left > 0 && i-- > 0;) {
            if (watched[i].revents == 0) continue;
            left--;
            if (i > 0) {
                if (answer(watched[i].fd)) continue;
                close(watched[i].fd);
                watched[i] = watched[--count];
                continue;
            }
            int client = accept_client(listener, SOCK_NONBLOCK);
            if (client >= 0) watched[count++] = (struct pollfd){.fd = client, .events = POLLIN};
        }
    }
}

static void epoll_loop(int listener) {
    int poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[1024];
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event)) fail("epoll");
    for (;;) {
        int count = epoll_wait(poller, ready, 1024, -1);
        for (int i = 0; i < count; i++) {
            if (ready[i].data.fd != listener) {
                if (!answer(ready[i].data.fd)) close(ready[i].data.fd);
                continue;
            }
            event.data.fd = accept_client(listener, SOCK_NONBLOCK);
            if (event.data.fd >= 0) epoll_ctl(poller, EPOLL_CTL_ADD, event.data.fd, &event);
        }
    }
}

/* ---- Datagrams. ---- */

static void recvfrom_loop(int socket) {
    for (;;) {
        struct sockaddr_storage from;
        socklen_t length = sizeof from;
        ssize_t n = recvfrom(socket, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length);
        if (n >= 0) sendto(socket, buffer, (size_t)n, MSG_DONTWAIT, (struct sockaddr *)&from, length);
    }
}

static void recvmmsg_loop(int socket) {
    static char bytes[BATCH][DATAGRAM];
    static struct sockaddr_storage from[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i].iov_base = bytes[i];
        messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i].iov_len = DATAGRAM;
            messages[i].msg_hdr.msg_namelen = sizeof from[i];
        }
        int count = recvmmsg(socket, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < count; i++) parts[i].iov_len = messages[i].msg_len;
        /* It ends at the first that cannot be sent, which is left out. */
        for (int done = 0, sent; done < count; done += sent > 0 ? sent : 1)
            sent = sendmmsg(socket, messages + done, (unsigned)(count - done), MSG_DONTWAIT);
    }
}

/* ---- */

static int bind_socket(const char *protocol, const char *path) {
    is_inet = strncmp(protocol, "unix", 4) != 0;
    is_datagram = !strcmp(protocol, "udp") || !strcmp(protocol, "unix-datagram");
    int fd = socket(is_inet ? AF_INET : AF_UNIX, (is_datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket");
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un file = {.sun_family = AF_UNIX};
    strncpy(file.sun_path, path, sizeof file.sun_path - 1);
    if (is_inet ? bind(fd, (void *)&inet, sizeof inet) : bind(fd, (void *)&file, sizeof file)) fail("bind");
    if (!is_datagram && listen(fd, 4096)) fail("listen");
    socklen_t length = sizeof inet;
    if (is_inet) getsockname(fd, (void *)&inet, &length);
    printf("%d\n", is_inet ? ntohs(inet.sin_port) : 0);
    fclose(stdout);
    return fd;
}

int main(int count, char **words) {
    static const struct { const char *name; void (*run)(int); int datagrams; } LOOPS[] = {
        {"thread", thread_loop, 0},     {"process", process_loop, 0}, {"select", select_loop, 0},     {"poll", poll_loop, 0},
        {"epoll", epoll_loop, 0},       {"recvfrom", recvfrom_loop, 1}, {"recvmmsg", recvmmsg_loop, 1},
    };
    if (count < 3) {
        fprintf(stderr, "bare: see the top of benches/bare.c\n");
        return 64;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (size_t i = 0; i < sizeof LOOPS / sizeof *LOOPS; i++) {
        if (strcmp(LOOPS[i].name, words[1])) continue;
        int fd = bind_socket(words[2], count > 3 ? words[3] : "");
        if (LOOPS[i].datagrams == is_datagram) LOOPS[i].run(fd);
        break;
    }
    fprintf(stderr, "bare: no loop %s for %s\n", words[1], words[2]);
    return 64;
}

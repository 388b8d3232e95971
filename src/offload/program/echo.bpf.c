// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The echo in the kernel: a program for the ingress of a network interface (TCX, Linux 6.6). It answers a datagram in place and sends
// it back where it came from, if it is sure that the listener would answer the same. Everything else it passes on, to the socket of
// the listener, whose guards, counters and log decide. There is one exception: an answer that the loop breaker withholds is dropped,
// or the socket would send it.
//
// It needs no header and no library, so that clang alone can translate it:
//
//     clang -O2 -target bpf -mcpu=v3 -c echo.bpf.c
//
// The UDP checksum stays as it is: the sum does not change when addresses and ports change places, and if the sender left its
// completion to a device, the kernel's note about that stays right too.
//
// Lengths are compared with that of the packet, and only constant offsets are read: the verifier refuses variable ones without
// CAP_PERFMON.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static __attribute__((always_inline)) inline

// What a program sees of a packet: the beginning of `struct __sk_buff`.
struct packet {
    u32 length, kind, mark, queue, protocol, vlan_present, vlan_tag, vlan_protocol, priority, ingress, interface, index;
    u32 control[5], hash, class, data, end, napi, family, remote4, local4, remote6[4], local6[4], remote_port, local_port, meta;
    u64 keys, stamp;
    u32 wire_length, segments;
};

struct ethernet {
    u8 to[6], from[6];
    u16 protocol;
};

struct ip4 {
    u8 version, class;
    u16 length, id, fragment;
    u8 hops, protocol;
    u16 sum;
    u32 from, to;
};

struct ip6 {
    u32 version;
    u16 length;
    u8 next, hops;
    u32 from[4], to[4];
};

struct udp {
    u16 from, to, length, sum;
};

// All numbers of addresses and ports are in network byte order. An IPv4 address is ::ffff:a.b.c.d.
struct place {
    u32 interface, address[4];
    u16 port, zero;
};

struct destination {
    u32 listener, flags;
};

struct listener {
    u32 flags, breaker;
    // When the last of the addresses that are silenced as a whole may be answered again.
    u64 silent_until;
};

struct network {
    u32 length, space, address[4];
};

struct peer {
    u32 address[4];
    u16 port, zero;
    u32 listener;
};

struct run {
    u64 answers, last, silent_until;
};

enum { SENT, BYTES, ODD, SOURCE, PORT, RULES, VICTIM, WITHHELD, COUNTERS, NOTHING = COUNTERS };

struct counters {
    u64 of[COUNTERS];
};

// Only their addresses count: the loader makes the maps, and src/offload/maps.rs says of what kind and size.
struct map { int none; };
struct map places SECTION("maps") = {};    // place -> destination; with interface and port 0: addresses that no client may have
struct map listeners SECTION("maps") = {}; // listener -> struct listener
struct map ports SECTION("maps") = {};     // listener * 1024 + port / 64 -> 64 ports that are not answered
struct map networks SECTION("maps") = {};  // network -> whether its sources may come in
struct map peers SECTION("maps") = {};     // peer -> run
struct map counts SECTION("maps") = {};    // listener * SHARDS + processor -> counters

static void *(*lookup)(void *map, const void *key) = (void *)1;
static long (*update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u32 (*processor)(void) = (void *)8;
static long (*redirect)(u32 interface, u64 flags) = (void *)23;
static u64 (*lately)(void) = (void *)160;

enum { PASS = -1, DROP = 2 };
// Of a destination: it is on the loopback interface; only sources of the interface's own networks are answered; peers are remembered.
enum { LOOPBACK = 1, ON_LINK = 2, REMEMBERS = 4 };
// Of a listener: some peers are trusted.
enum { TRUSTS = 1 };
// Spaces of `networks`, below the number of the listener, and above them all the networks of an interface.
enum { IPV6 = 1, TRUSTED = 2, SPACES = 4 };
#define INTERFACE 0x80000000u
#define SHARDS 16
#define NO_REPLACE 1
#define SECOND 1000000000ull
// On the loopback interface an answer keeps this mark until it is received, and no socket sends it: what comes with it is the answer
// of another echo, and would never end.
#define ECHOED 0x65636f21u

#define SWAP16(x) __builtin_bswap16(x)
#define SWAP32(x) __builtin_bswap32(x)

INLINE u16 folded(u32 sum) {
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

INLINE void copied(u32 *to, const u32 *from) {
    to[0] = from[0], to[1] = from[1], to[2] = from[2], to[3] = from[3];
}

// What is known of a packet, before anything is changed.
struct datagram {
    // The verifier only keeps track of what it can save as a whole.
    u64 is_v4;
    u32 length, listener, is_loopback, segments;
    struct ethernet *frame;
    struct udp *udp;
    struct place place;
    struct peer peer;
};

// What is to be done with a packet: the counter of its listener that says so, or none.
INLINE int judged(struct packet *packet, struct datagram *datagram) {
    void *data = (void *)(long)packet->data, *end = (void *)(long)packet->end;
    struct ethernet *frame = data;
    struct ip4 *v4 = (void *)(frame + 1);
    struct ip6 *v6 = (void *)(frame + 1);
    struct udp *udp;
    struct place *place = &datagram->place;
    struct peer *peer = &datagram->peer;
    u32 length, header, is_v4, class;

    // Only what was sent to this machine alone, without a VLAN tag.
    if (packet->kind || packet->vlan_present || (void *)(frame + 1) > end) return NOTHING;
    if (frame->protocol == SWAP16(0x0800)) {
        udp = (void *)(v4 + 1), is_v4 = 1, header = 34;
        // No options, no fragment.
        if ((void *)(udp + 1) > end || v4->version != 0x45 || v4->protocol != 17 || v4->fragment & SWAP16(0x3fff))
            return NOTHING;
        place->address[2] = peer->address[2] = SWAP32(0xffff), place->address[3] = v4->to, peer->address[3] = v4->from;
        length = SWAP16(v4->length) - 20, class = v4->class;
    } else if (frame->protocol == SWAP16(0x86dd)) {
        udp = (void *)(v6 + 1), is_v4 = 0, header = 54;
        if ((void *)(udp + 1) > end || v6->next != 17) return NOTHING;
        // No IPv4 address in an IPv6 one: it is the key of another place.
        if (!(v6->to[0] | v6->to[1]) && v6->to[2] == SWAP32(0xffff)) return NOTHING;
        copied(place->address, v6->to), copied(peer->address, v6->from);
        // The version is 6, and the class none.
        length = SWAP16(v6->length), class = (v6->version & SWAP32(0xfff00000)) ^ SWAP32(0x60000000);
    } else {
        return NOTHING;
    }
    place->interface = packet->interface;
    place->port = udp->to;
    struct destination *destination = lookup(&places, place);
    if (!destination) return NOTHING;
    u32 id = destination->listener, flags = destination->flags, is_loopback = flags & LOOPBACK;
    struct listener *listener = lookup(&listeners, &id);
    if (!listener) return NOTHING;
    u32 segments = packet->segments ? packet->segments : 1;
    datagram->is_v4 = is_v4, datagram->length = length, datagram->listener = id, datagram->is_loopback = is_loopback;
    datagram->segments = segments, datagram->frame = frame, datagram->udp = udp;

    // Whole and plain. The socket answers in a class of its own; so one with a class goes there.
    if (length != SWAP16(udp->length) || length < 8 || packet->length < header + length || !udp->sum || class ||
        frame->from[0] & 1)
        return ODD;
    if (is_v4) {
        u32 *words = (void *)v4;
        u64 sum = (u64)words[0] + words[1] + words[2] + words[3] + words[4];
        if (folded((sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32)) != 0xffff) return ODD;
    }

    // An address that a client can have, and that the kernel would let in.
    u32 *from = peer->address, first = SWAP32(is_v4 ? from[3] : from[0]) >> 24;
    if (is_v4) {
        u32 last = SWAP32(from[3]) & 0xff;
        if (first == 0 || first >= 224 || (first == 127) != is_loopback || (is_loopback && (last == 0 || last == 255)))
            return SOURCE;
    } else {
        // Also no IPv4 address in an IPv6 one.
        u32 low = !(from[0] | from[1]), is_self = low && !from[2] && from[3] == SWAP32(1);
        if (first == 0xff || is_self != is_loopback || (low && !is_self && (!from[2] || from[2] == SWAP32(0xffff))))
            return SOURCE;
    }
    if (is_loopback) {
        if (packet->mark == ECHOED) return WITHHELD;
    } else {
        struct place own = {};
        copied(own.address, from);
        if (lookup(&places, &own)) return SOURCE;
    }

    u32 port = SWAP16(udp->from), slot = id * 1024 + (port >> 6);
    u64 *denied = lookup(&ports, &slot);
    if (!denied || !port || *denied >> (port & 63) & 1) return PORT;

    struct network network = {.length = 160, .space = id * SPACES + (is_v4 ? 0 : IPV6)};
    copied(network.address, from);
    u32 *verdict = lookup(&networks, &network);
    if (!verdict || !*verdict) return RULES;
    if (is_v4 && flags & ON_LINK) {
        network.space = INTERFACE | packet->interface;
        if (!lookup(&networks, &network)) return SOURCE;
    }

    if (!(flags & REMEMBERS)) return SENT;
    if (listener->flags & TRUSTS) {
        network.space = id * SPACES + TRUSTED + (is_v4 ? 0 : IPV6);
        if (lookup(&networks, &network)) return SENT;
    }
    u64 now = lately();
    peer->listener = id;
    if (listener->silent_until > now) {
        struct run *whole = lookup(&peers, peer);
        if (whole && whole->silent_until > now) return VICTIM;
    }
    peer->port = udp->from;
    struct run *run = lookup(&peers, peer), fresh = {.answers = segments, .last = now};
    // Without room to remember it the socket does.
    if (!run) return update(&peers, peer, &fresh, NO_REPLACE) ? ODD : SENT;
    if (run->silent_until > now) return VICTIM;
    if (now - run->last >= SECOND && run->last < now) run->answers = 0;
    run->last = now;
    u32 breaker = listener->breaker;
    if (__sync_fetch_and_add(&run->answers, segments) + segments >= breaker && breaker) {
        run->answers = 0;
        return WITHHELD;
    }
    return SENT;
}

SECTION("tc") int echo(struct packet *packet) {
    struct datagram datagram = {};
    u32 what = judged(packet, &datagram);
    if (what == NOTHING) return PASS;
    u32 shard = datagram.listener * SHARDS + (processor() & (SHARDS - 1));
    struct counters *counters = lookup(&counts, &shard);
    if (counters) {
        __sync_fetch_and_add(&counters->of[what & (COUNTERS - 1)], what == SENT || what == WITHHELD ? datagram.segments : 1);
        if (what == SENT) __sync_fetch_and_add(&counters->of[BYTES], datagram.length - 8);
    }
    if (what != SENT) return what == WITHHELD ? DROP : PASS;

    struct ethernet *frame = datagram.frame;
    struct udp *udp = datagram.udp;
    if (datagram.is_v4) {
        struct ip4 *v4 = (void *)(frame + 1);
        u32 address = v4->from;
        v4->from = v4->to, v4->to = address;
        u16 before = *(u16 *)&v4->hops;
        v4->hops = 64;
        v4->sum = ~folded((u16)~v4->sum + (u16)~before + *(u16 *)&v4->hops);
    } else {
        struct ip6 *v6 = (void *)(frame + 1);
        copied(v6->from, datagram.place.address), copied(v6->to, datagram.peer.address);
        v6->hops = 64;
    }
    u16 from_port = udp->from;
    udp->from = udp->to, udp->to = from_port;
    u8 station[6];
    __builtin_memcpy(station, frame->to, 6);
    __builtin_memcpy(frame->to, frame->from, 6);
    __builtin_memcpy(frame->from, station, 6);
    if (datagram.is_loopback) packet->mark = ECHOED;
    return redirect(packet->interface, 0);
}

char licence[] SECTION("license") = "Dual MIT/GPL";

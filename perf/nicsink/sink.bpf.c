/* SPDX-License-Identifier: GPL-2.0 OR MIT
 *
 * A network card and a perfect peer, in three programs on a veth between two namespaces.
 *
 *   server namespace                                        client namespace
 *     ringcast ── vs0 ── egress: sink ────── head ──────────▶ vc0 ── real clients
 *                  ▲        │ (swallows)                       │
 *                  │        ▼                                  ▼
 *               ingress ◀─ tick: acknowledges     egress: client (SYN, ACK, request; then nothing)
 *
 * A connection is known by the client's port. Its phases:
 *
 *   NEW         No SYN-ACK yet. Everything passes.
 *   TALKING     From the server's SYN-ACK on. Both directions pass: the client's ACK, its request,
 *               the server's ACK, and what lies wholly in the first HEAD_BYTES of the response.
 *   WHOLE       The request asks for one of the pages (/metrics, /api/, ...): it is a conversation
 *               and not a stream, so everything passes for ever, and is really delivered.
 *   SWALLOWING  From the first segment on that reaches beyond HEAD_BYTES. What the server sends
 *               goes no further: its payload is never read, copied or freed late, which is what a
 *               card with TSO does, only without the transfer. The client's rcv_nxt stays where it
 *               is, so that whatever its kernel says from now on is wrong, and is dropped.
 *   CLOSING     The server sent FIN or RST. The next tick answers FIN with the client's FIN, and
 *               resets the client, at its own rcv_nxt.
 *   LEFT        It is over. Everything is dropped until the port's next SYN.
 *
 * A client that closes while SWALLOWING is a viewer that leaves: its FIN goes on as RST, and the
 * phase is LEFT.
 *
 * Who acknowledges: `sink` notes how far the connection came and queues its port, once (`queued`).
 * A tick, a UDP packet that nicsink sends from another core, is the template: the program writes an
 * ACK over it for up to ACKS_PER_TICK ports and clones each to vs0's ingress. An ACK says the newest
 * state and not that of the queueing, so ACKs are cumulative when ticks are late, and the queue
 * never holds more than one entry per port.
 *
 * `sink` and `client` never write to a segment with payload: writing would unshare it, and that
 * copies what zero-copy sends point at.
 *
 * Given by the command line, all in host order: SERVER, CLIENT (IPv4), PORT, TICK_PORT, HEAD_BYTES,
 * ACKS_PER_TICK.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORTS 65536
#define FRAME_BYTES 54
/* Unscaled; the window scale of the real handshake makes 8 MiB of it (7 bits by default). */
#define WINDOW 65535
/* On packets that `tick` sends towards the client: they pass `sink`. */
#define OURS 0x6e6963
/* Places in a frame without IP options. */
#define SEQ_AT (14 + 20 + 4)
#define FLAGS_AT (14 + 20 + 13)

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

enum phase { NEW, TALKING, WHOLE, SWALLOWING, CLOSING, LEFT };

struct connection {
    __u32 phase;
    __u32 head_end;  /* TALKING: the sequence number up to which segments pass */
    __u32 delivered; /* the client's rcv_nxt once SWALLOWING */
    __u32 next;      /* after the last swallowed byte */
    __u32 told;      /* what the server was told last */
    __u32 reply;     /* the client's snd_nxt: where its ACKs stand */
    __u32 queued;    /* 1: in the queue */
    __u32 fin;       /* the server sent FIN; it takes one number after `next` */
};

/* One per core. Bytes are payload; each is counted by the core that saw it. */
struct counters {
    __u64 connections;    /* that began to be swallowed */
    __u64 segments;       /* swallowed, as the server's TCP handed them down */
    __u64 bytes;          /* swallowed for the first time */
    __u64 repeated_bytes; /* swallowed again: retransmissions */
    __u64 acks;
    __u64 acked_bytes;
    __u64 queued;         /* ports put in the queue */
    __u64 taken;          /* ports taken out of it */
    __u64 queue_refused;  /* the queue took no more: an ACK that waits for a retransmission */
    __u64 ticks;
    __u64 full_ticks;     /* that ended with ACKS_PER_TICK and maybe more to do */
    __u64 not_emitted;    /* packets of ticks that the kernel refused */
    __u64 client_dropped; /* segments of the clients' kernels */
    __u64 left;           /* clients that closed */
    __u64 closed;         /* connections that the server ended */
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, PORTS);
    __type(key, __u32);
    __type(value, struct connection);
} connections SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, PORTS);
    __uint(value_size, sizeof(__u32));
} queue SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct counters);
} counters SEC(".maps");

/* A segment between the clients and the server's port. */
struct segment {
    __u32 port; /* the client's */
    __u32 seq;
    __u32 ack;
    __u32 header; /* bytes of all headers */
    __u32 payload;
    __u8 flags;
};

/* What a tick sends. The two bytes in front align the rest. */
struct frame {
    __u8 align[2];
    struct ethhdr eth;
    struct iphdr ip;
    struct tcphdr tcp;
};

static __always_inline struct counters *counted(void)
{
    __u32 key = 0;
    return bpf_map_lookup_elem(&counters, &key);
}

static __always_inline struct connection *connection_of(__u32 port)
{
    return bpf_map_lookup_elem(&connections, &port);
}

static __always_inline int is_after(__u32 a, __u32 b)
{
    return (__s32)(a - b) > 0;
}

/* Reads the headers where they are. False: not one of ours. */
static __always_inline int read_segment(struct __sk_buff *skb, int from_server, struct segment *s)
{
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);
    struct tcphdr *tcp = (void *)(ip + 1);
    if ((void *)(tcp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
        return 0;
    if (ip->ihl != 5 || ip->protocol != IPPROTO_TCP)
        return 0;
    __u32 server = from_server ? ip->saddr : ip->daddr;
    __u32 client = from_server ? ip->daddr : ip->saddr;
    if (server != bpf_htonl(SERVER) || client != bpf_htonl(CLIENT))
        return 0;
    if ((from_server ? tcp->source : tcp->dest) != bpf_htons(PORT))
        return 0;
    s->port = bpf_ntohs(from_server ? tcp->dest : tcp->source);
    s->seq = bpf_ntohl(tcp->seq);
    s->ack = bpf_ntohl(tcp->ack_seq);
    s->header = sizeof(*eth) + sizeof(*ip) + tcp->doff * 4;
    s->payload = skb->len > s->header ? skb->len - s->header : 0;
    s->flags = ((__u8 *)tcp)[13];
    return 1;
}

/* The connection's state is written; from now on a tick will act on it. */
static __always_inline void enqueue(struct connection *c, __u32 port, struct counters *n)
{
    if (__sync_lock_test_and_set(&c->queued, 1))
        return;
    if (bpf_map_push_elem(&queue, &port, 0)) {
        c->queued = 0;
        n->queue_refused++;
    } else {
        n->queued++;
    }
}

static __always_inline int swallow(struct connection *c, struct segment *s, struct counters *n)
{
    __u32 end = s->seq + s->payload;
    /* Without payload only a question is answered (keepalive: one below what we have). */
    if (!s->payload && !(s->flags & (FIN | RST)) && s->seq != c->next - 1)
        return TC_ACT_STOLEN;
    if (s->payload) {
        n->segments++;
        if (is_after(end, c->next)) {
            n->bytes += end - c->next;
            n->repeated_bytes += s->payload - (end - c->next);
            c->next = end;
        } else {
            n->repeated_bytes += s->payload;
        }
    }
    c->reply = s->ack;
    if (s->flags & (FIN | RST)) {
        c->fin = !(s->flags & RST);
        if (c->phase != CLOSING)
            n->closed++;
        c->phase = CLOSING;
    }
    enqueue(c, s->port, n);
    return TC_ACT_STOLEN;
}

/* vs0, egress. */
SEC("tc") int sink(struct __sk_buff *skb)
{
    struct segment s;
    if (skb->mark == OURS)
        return TC_ACT_OK;
    if (!read_segment(skb, 1, &s))
        return TC_ACT_UNSPEC; /* on to `tick` */
    struct connection *c = connection_of(s.port);
    struct counters *n = counted();
    if (!c || !n)
        return TC_ACT_SHOT;
    switch (c->phase) {
    case NEW:
        if ((s.flags & (SYN | ACK)) == (SYN | ACK)) {
            c->head_end = s.seq + 1 + HEAD_BYTES;
            c->phase = TALKING;
        }
        return TC_ACT_OK;
    case TALKING:
        if (!s.payload || !is_after(s.seq + s.payload, c->head_end))
            return TC_ACT_OK;
        c->delivered = c->next = c->told = s.seq;
        c->fin = 0;
        c->phase = SWALLOWING;
        n->connections++;
        return swallow(c, &s, n);
    case WHOLE:
        return TC_ACT_OK;
    case SWALLOWING:
    case CLOSING:
        return swallow(c, &s, n);
    default:
        return TC_ACT_STOLEN;
    }
}

/* A page and not a stream? By the first bytes of the request. */
static __always_inline int asks_for_a_page(struct __sk_buff *skb, struct segment *s)
{
    static const char pages[][12] = {"GET /metrics", "GET /api/v1/", "GET /healthz", "GET /readyz "};
    char start[12];
    if (bpf_skb_load_bytes(skb, s->header, start, sizeof(start)))
        return 0;
    for (int page = 0; page < 4; page++) {
        int same = 1;
        for (int i = 0; i < 12; i++)
            same &= start[i] == pages[page][i];
        if (same)
            return 1;
    }
    return 0;
}

/* vc0, egress. */
SEC("tc") int client(struct __sk_buff *skb)
{
    struct segment s;
    if (!read_segment(skb, 0, &s))
        return TC_ACT_OK;
    struct connection *c = connection_of(s.port);
    struct counters *n = counted();
    if (!c || !n)
        return TC_ACT_SHOT;
    if (s.flags & SYN) {
        c->phase = NEW;
        return TC_ACT_OK;
    }
    switch (c->phase) {
    case TALKING:
        if (s.payload && asks_for_a_page(skb, &s))
            c->phase = WHOLE;
        return TC_ACT_OK;
    case NEW:
    case WHOLE:
        return TC_ACT_OK;
    case SWALLOWING:
        if (s.flags & (FIN | RST)) {
            /* At the number that the server expects, whatever the client said in between. */
            __u8 flags = RST;
            __be32 seq = bpf_htonl(c->reply);
            n->left++;
            c->phase = LEFT;
            enqueue(c, s.port, n); /* the client's socket ends, too */
            bpf_skb_store_bytes(skb, SEQ_AT, &seq, sizeof(seq), 0);
            bpf_skb_store_bytes(skb, FLAGS_AT, &flags, sizeof(flags), 0);
            return TC_ACT_OK;
        }
        /* fall through */
    default:
        n->client_dropped++;
        return TC_ACT_STOLEN;
    }
}

static __always_inline __u16 folded(__s64 sum)
{
    __u32 c = sum;
    c = (c & 0xffff) + (c >> 16);
    c = (c & 0xffff) + (c >> 16);
    return ~c;
}

/* Lengths, addresses and check sums of a segment without payload whose rest is written. */
static __always_inline void finish(struct frame *f, int to_server)
{
    struct {
        __be32 source, target;
        __be16 protocol, length;
        struct tcphdr tcp;
    } sum;
    f->ip.saddr = bpf_htonl(to_server ? CLIENT : SERVER);
    f->ip.daddr = bpf_htonl(to_server ? SERVER : CLIENT);
    f->ip.check = 0;
    f->ip.check = folded(bpf_csum_diff(0, 0, (void *)&f->ip, sizeof(f->ip), 0));
    sum.source = f->ip.saddr;
    sum.target = f->ip.daddr;
    sum.protocol = bpf_htons(IPPROTO_TCP);
    sum.length = bpf_htons(sizeof(struct tcphdr));
    f->tcp.check = 0;
    sum.tcp = f->tcp;
    f->tcp.check = folded(bpf_csum_diff(0, 0, (void *)&sum, sizeof(sum), 0));
}

/* A tick's work in progress: the template and who sent it. */
struct round {
    struct __sk_buff *skb;
    struct ethhdr eth;
    __u32 wrong;
};

/* The template becomes a segment without payload, and a clone of it goes. */
static __always_inline void emit(struct round *r, int to_server, struct tcphdr *tcp)
{
    struct frame f = {};
    f.eth = r->eth;
    if (to_server) {
        __builtin_memcpy(f.eth.h_dest, r->eth.h_source, ETH_ALEN);
        __builtin_memcpy(f.eth.h_source, r->eth.h_dest, ETH_ALEN);
    }
    f.ip.version = 4;
    f.ip.ihl = sizeof(f.ip) / 4;
    f.ip.ttl = 64;
    f.ip.protocol = IPPROTO_TCP;
    f.ip.tot_len = bpf_htons(sizeof(f.ip) + sizeof(f.tcp));
    f.tcp = *tcp;
    finish(&f, to_server);
    r->skb->mark = to_server ? 0 : OURS;
    if (bpf_skb_store_bytes(r->skb, 0, &f.eth, FRAME_BYTES, 0) ||
        bpf_clone_redirect(r->skb, r->skb->ifindex, to_server ? BPF_F_INGRESS : 0))
        r->wrong++;
}

static __always_inline struct tcphdr segment_of(__u32 from, __u32 to, __u8 flags)
{
    struct tcphdr tcp = {};
    tcp.source = bpf_htons(from);
    tcp.dest = bpf_htons(to);
    tcp.doff = sizeof(tcp) / 4;
    tcp.fin = !!(flags & FIN);
    tcp.rst = !!(flags & RST);
    tcp.ack = !!(flags & ACK);
    tcp.window = bpf_htons(WINDOW);
    return tcp;
}

/* One port of the queue; 1 ends the round. */
static long settle(__u32 index, void *context)
{
    struct round *r = context;
    struct counters *n = counted();
    __u32 port;
    if (!n || bpf_map_pop_elem(&queue, &port))
        return 1;
    n->taken++;
    struct connection *c = connection_of(port);
    if (!c)
        return 0;
    /* Cleared before the state is read: what comes after the reading queues the port anew. */
    __sync_lock_test_and_set(&c->queued, 0);
    __u32 phase = c->phase, next = c->next, fin = c->fin;
    if (phase == SWALLOWING || (phase == CLOSING && fin)) {
        struct tcphdr tcp = segment_of(port, PORT, fin ? ACK | FIN : ACK);
        tcp.seq = bpf_htonl(c->reply);
        tcp.ack_seq = bpf_htonl(next + fin);
        n->acks++;
        n->acked_bytes += next - c->told;
        c->told = next;
        emit(r, 1, &tcp);
    }
    if (phase == CLOSING || phase == LEFT) {
        struct tcphdr tcp = segment_of(PORT, port, RST);
        tcp.seq = bpf_htonl(c->delivered);
        c->phase = LEFT;
        emit(r, 0, &tcp);
    }
    if (index + 1 == ACKS_PER_TICK)
        n->full_ticks++;
    return 0;
}

/* vs0, egress, after `sink`. */
SEC("tc") int tick(struct __sk_buff *skb)
{
    struct {
        __u8 align[2];
        struct ethhdr eth;
        struct iphdr ip;
        struct udphdr udp;
    } in;
    struct counters *n = counted();
    if (!n || skb->len != FRAME_BYTES || bpf_skb_load_bytes(skb, 0, &in.eth, FRAME_BYTES - 12))
        return TC_ACT_OK;
    if (in.eth.h_proto != bpf_htons(ETH_P_IP) || in.ip.protocol != IPPROTO_UDP)
        return TC_ACT_OK;
    if (in.ip.daddr != bpf_htonl(CLIENT) || in.udp.dest != bpf_htons(TICK_PORT))
        return TC_ACT_OK;
    struct round r = {.skb = skb, .eth = in.eth};
    n->ticks++;
    bpf_loop(ACKS_PER_TICK, settle, &r, 0);
    n->not_emitted += r.wrong;
    return TC_ACT_STOLEN;
}

char _license[] SEC("license") = "Dual MIT/GPL";

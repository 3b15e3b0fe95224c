// Sends UDP packets, as fast as it can or at a rate, and says how many they were.
//
//   send packet IF MAC FROM TO IP_BYTES FLOWS RATE SECONDS   frames by AF_PACKET, checksums complete, flows in turn
//   send socket TO IP_BYTES FLOWS RATE SECONDS               by UDP sockets (checksums left to the device), 64 in a row
//
// RATE is in packets per second, 0 = no limit. Prints: packets, nanoseconds, nanoseconds of CPU.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 64, PORT = 9999, FIRST_SOURCE_PORT = 20000, FLOWS_MAX = 1024, FRAME_BYTES = 2048 };

static unsigned char frames[FLOWS_MAX][FRAME_BYTES];
static struct mmsghdr messages[FLOWS_MAX + BURST];
static struct iovec slices[FLOWS_MAX];
static int sockets[FLOWS_MAX];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static uint32_t sum(uint32_t sum, const unsigned char *bytes, int len) {
    for (int i = 0; i < len; i++) sum += i % 2 ? bytes[i] : bytes[i] << 8;
    return sum;
}

static void put_checksum(unsigned char *at, uint32_t sum) {
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    sum = ~sum & 0xffff ? ~sum & 0xffff : 0xffff;
    at[0] = sum >> 8, at[1] = sum;
}

static void put16(unsigned char *at, int value) {
    at[0] = value >> 8, at[1] = value;
}

// One frame: Ethernet, IPv4, UDP, zeros.
static void build(unsigned char *frame, const unsigned char *mac, const char *from, const char *to, int len, int flow) {
    memcpy(frame, mac, 6);
    put16(frame + 12, ETH_P_IP);
    unsigned char *ip = frame + 14, *udp = ip + 20;
    ip[0] = 0x45, ip[8] = 64, ip[9] = 17;
    put16(ip + 2, len);
    if (inet_pton(AF_INET, from, ip + 12) != 1 || inet_pton(AF_INET, to, ip + 16) != 1) die("address");
    put_checksum(ip + 10, sum(0, ip, 20));
    put16(udp, FIRST_SOURCE_PORT + flow);
    put16(udp + 2, PORT);
    put16(udp + 4, len - 20);
    put_checksum(udp + 6, sum(17 + len - 20, ip + 12, len - 12));
}

static void open_packet(char **argv, int len, int flows) {
    unsigned char mac[6];
    if (sscanf(argv[1], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6)
        die("MAC");
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(argv[0])};
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof to) < 0) die("AF_PACKET");
    for (int i = 0; i < flows; i++) {
        build(frames[i], mac, argv[2], argv[3], len, i);
        sockets[i] = fd;
    }
}

static void open_sockets(char **argv, int flows) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    if (inet_pton(AF_INET, argv[0], &to.sin_addr) != 1) die("address");
    for (int i = 0; i < flows; i++) {
        sockets[i] = socket(AF_INET, SOCK_DGRAM, 0);
        if (connect(sockets[i], (struct sockaddr *)&to, sizeof to) < 0) die("connect");
    }
}

// Sleeps until `count` packets are due.
static void pace(uint64_t start, uint64_t count, double rate) {
    uint64_t due = start + count / rate * 1e9;
    struct timespec t = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

int main(int argc, char **argv) {
    int packet = argc == 10 && !strcmp(argv[1], "packet");
    if (!packet && !(argc == 7 && !strcmp(argv[1], "socket"))) return fprintf(stderr, "see the source\n"), 2;
    char **rest = argv + (packet ? 6 : 3);
    int ip_bytes = atoi(rest[0]), flows = atoi(rest[1]);
    double rate = atof(rest[2]);
    uint64_t wanted_ns = atof(rest[3]) * 1e9;
    if (flows < 1 || flows > FLOWS_MAX || ip_bytes < 28 || ip_bytes > 1500) return fprintf(stderr, "range\n"), 2;
    packet ? open_packet(argv + 2, ip_bytes, flows) : open_sockets(argv + 2, flows);

    int bytes = packet ? ip_bytes + 14 : ip_bytes - 28;
    for (int i = 0; i < FLOWS_MAX + BURST; i++) {
        int flow = i % flows;
        if (i < flows) slices[i] = (struct iovec){frames[i], bytes};
        messages[i].msg_hdr.msg_iov = &slices[flow];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    prctl(PR_SET_TIMERSLACK, 1000);
    uint64_t start = now(CLOCK_MONOTONIC), end = start + wanted_ns, sent = 0;
    for (uint64_t turn = 0; now(CLOCK_MONOTONIC) < end; turn++) {
        // Frames of all flows in turn by one socket; or a row of one flow, then of the next.
        struct mmsghdr *first = packet ? messages + sent % flows : messages;
        int got = sendmmsg(sockets[packet ? 0 : turn % flows], first, BURST, 0);
        // A full queue further down the path shows as ENOBUFS: that packet is lost, and was sent.
        if (got < 0 && errno != ENOBUFS && errno != EAGAIN) die("sendmmsg");
        sent += got < 0 ? 1 : got;
        if (rate > 0) pace(start, sent, rate);
    }
    uint64_t took = now(CLOCK_MONOTONIC) - start;
    printf("%llu %llu %llu\n", (unsigned long long)sent, (unsigned long long)took,
           (unsigned long long)now(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}

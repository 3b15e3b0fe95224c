// Measures round trips by ICMP echo, one at a time.
//
//   rtt ADDRESS COUNT GAP_US   prints: answered, then all round trips in nanoseconds
//   rtt syscall                prints the cost of an empty system call in nanoseconds
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PAYLOAD_BYTES = 56, WARM_UP = 20 };

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int print_syscall_cost(void) {
    enum { CALLS = 1000000 };
    uint64_t start = now();
    for (int i = 0; i < CALLS; i++) syscall(SYS_getppid);
    printf("%llu\n", (unsigned long long)((now() - start) / CALLS));
    return 0;
}

// Waits for the answer to `number`; 0 when none came within a second.
static int answered(int fd, uint16_t id, uint16_t number) {
    unsigned char bytes[2048];
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    while (poll(&ready, 1, 1000) > 0) {
        ssize_t len = recv(fd, bytes, sizeof bytes, 0);
        unsigned char *icmp = bytes + (bytes[0] & 15) * 4;
        if (len < icmp - bytes + 8 || icmp[0] != 0) continue;
        if (icmp[4] << 8 == (id & 0xff00) && icmp[5] == (id & 0xff) && (icmp[6] << 8 | icmp[7]) == number) return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "syscall")) return print_syscall_cost();
    if (argc != 4) return fprintf(stderr, "rtt ADDRESS COUNT GAP_US\n"), 2;
    struct sockaddr_in to = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) return fprintf(stderr, "%s is no address\n", argv[1]), 2;
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), count = atoi(argv[2]), good = 0;
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0) die("ICMP socket");
    uint64_t *took = calloc(count + 1, sizeof *took);
    uint16_t id = getpid();
    for (int i = 0; i < count + WARM_UP; i++) {
        unsigned char echo[8 + PAYLOAD_BYTES] = {8, 0, 0, 0, id >> 8, id, i >> 8, i};
        uint32_t sum = (8 << 8) + id + (i & 0xffff);
        while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
        echo[2] = ~sum >> 8, echo[3] = ~sum;
        uint64_t start = now();
        if (send(fd, echo, sizeof echo, 0) < 0) die("send");
        if (answered(fd, id, i) && i >= WARM_UP) took[good++] = now() - start;
        usleep(atoi(argv[3]));
    }
    printf("%d", good);
    for (int i = 0; i < good; i++) printf(" %llu", (unsigned long long)took[i]);
    puts("");
    return 0;
}

// A program that accepts every packet of an NFQUEUE.
//
//   nfqueue NUMBER each   one verdict per packet, whole packets copied: the classical way
//   nfqueue NUMBER batch  super-packets whole, 128 bytes copied, one verdict for up to 64 packets: the fastest way known
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/netfilter.h>
#include <libnetfilter_queue/libnetfilter_queue.h>

enum { BATCH = 64, QUEUE_PACKETS = 5000, SOCKET_BYTES = 16 << 20 };

static int each;
static uint32_t last_id;

static int on_packet(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *data, void *user) {
    (void)message, (void)user;
    struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(data);
    last_id = header ? ntohl(header->packet_id) : 0;
    return each ? nfq_set_verdict(queue, last_id, NF_ACCEPT, 0, NULL) : 0;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "nfqueue NUMBER each|batch\n"), 2;
    each = !strcmp(argv[2], "each");
    struct nfq_handle *handle = nfq_open();
    if (!handle) die("nfq_open");
    struct nfq_q_handle *queue = nfq_create_queue(handle, atoi(argv[1]), on_packet, NULL);
    if (!queue) die("nfq_create_queue");
    if (nfq_set_mode(queue, NFQNL_COPY_PACKET, each ? 0xffff : 128) < 0) die("nfq_set_mode");
    if (nfq_set_queue_maxlen(queue, QUEUE_PACKETS) < 0) die("nfq_set_queue_maxlen");
    uint32_t flags = NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN;
    if (!each && nfq_set_queue_flags(queue, flags, flags) < 0) die("nfq_set_queue_flags");
    int fd = nfq_fd(handle), bytes = SOCKET_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
    puts("ready");
    fflush(stdout);

    static char buffer[65536 + 4096] __attribute__((aligned(8)));
    for (;;) {
        int count = 0;
        ssize_t len = recv(fd, buffer, sizeof buffer, 0);
        while (len > 0) {
            nfq_handle_packet(handle, buffer, len);
            if (each || ++count == BATCH) break;
            len = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        }
        if (count > 0) nfq_set_verdict_batch(queue, last_id, NF_ACCEPT);
        if (len < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS) die("recv");
    }
}

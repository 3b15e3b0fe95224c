// The floor: a TUN device, and a loop that writes back what it reads. Nothing is looked at.
//
//   tun_loop NAME block    one blocking read, one write
//   tun_loop NAME epoll    epoll, read until EAGAIN, write each
//   tun_loop NAME offload  as block, with the offload header: super-packets go through whole
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static char buffer[65536 + 64];

static void die(const char *what) {
    perror(what);
    exit(1);
}

// Writes a packet back. The kernel refuses some (EINVAL, no room); they are lost, as on any router.
static void forward(int tun, ssize_t len) {
    if (write(tun, buffer, len) < 0 && errno == EBADFD) die("write");
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "tun_loop NAME block|epoll|offload\n"), 2;
    int offload = !strcmp(argv[2], "offload"), epoll = !strcmp(argv[2], "epoll");
    int tun = open("/dev/net/tun", O_RDWR | (epoll ? O_NONBLOCK : 0));
    if (tun < 0) die("/dev/net/tun");
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | (offload ? IFF_VNET_HDR : 0)};
    strncpy(request.ifr_name, argv[1], IFNAMSIZ - 1);
    if (ioctl(tun, TUNSETIFF, &request) < 0) die("TUNSETIFF");
    unsigned all = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    if (offload && ioctl(tun, TUNSETOFFLOAD, all | TUN_F_USO4 | TUN_F_USO6) < 0 && ioctl(tun, TUNSETOFFLOAD, all) < 0)
        die("TUNSETOFFLOAD");
    puts("ready");
    fflush(stdout);

    int poll = epoll ? epoll_create1(0) : -1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    if (epoll && epoll_ctl(poll, EPOLL_CTL_ADD, tun, &event) < 0) die("epoll_ctl");
    for (;;) {
        ssize_t len = read(tun, buffer, sizeof buffer);
        if (len > 0) {
            forward(tun, len);
        } else if (len < 0 && errno == EAGAIN) {
            if (epoll_wait(poll, &event, 1, -1) < 0 && errno != EINTR) die("epoll_wait");
        } else if (errno != EINTR && errno != EIO) {
            die("read");
        }
    }
}

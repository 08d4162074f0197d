/* The first instructions of a process without a C library. */
#include "port-linux.h"

int raise(int signal);

#ifdef __aarch64__
__asm__(".section .text._start,\"ax\",%progbits\n"
        ".global _start\n"
        "_start:\n"
        "    mov x0, sp\n"
        "    b prunekit_main\n"
        ".text\n");
#else
__asm__(".syntax unified\n"
        ".section .text._start,\"ax\",%progbits\n"
        ".global _start\n"
        ".type _start,%function\n"
        ".thumb_func\n"
        "_start:\n"
        "    mov r0, sp\n"
        "    b prunekit_main\n"
        ".text\n");
#endif

/* libgcc's integer division by zero asks for it. */
__attribute__((used)) int raise(int signal) {
    port_exit((uintptr_t)signal);
    return signal;
}

/* Linux processes under QEMU's user mode: system calls without a C library. */
#ifndef PRUNEKIT_LINUX_H
#define PRUNEKIT_LINUX_H

#include <stdint.h>

#define PORT_STACK_OVERFLOW 3
#define PORT_STACK_BYTES 1048576u

typedef uint32_t port_cell;

#ifdef __aarch64__
enum { READ_CALL = 63, WRITE_CALL = 64, EXIT_CALL = 94 };
#else
enum { READ_CALL = 3, WRITE_CALL = 4, EXIT_CALL = 248 };
#endif

static inline __attribute__((always_inline)) uintptr_t port_stack_pointer(void) {
    uintptr_t pointer;
    __asm__ volatile("mov %0, sp" : "=r"(pointer));
    return pointer;
}

/* A process has no end of stack of its own: this much of it is watched. */
static inline __attribute__((always_inline)) uintptr_t port_stack_bottom(uintptr_t stack_top) {
    return (stack_top - PORT_STACK_BYTES) & ~(uintptr_t)15;
}

static inline __attribute__((always_inline)) intptr_t port_call(uintptr_t number, uintptr_t first, uintptr_t second,
                                                                uintptr_t third) {
#ifdef __aarch64__
    register uintptr_t x8 __asm__("x8") = number;
    register uintptr_t x0 __asm__("x0") = first;
    register uintptr_t x1 __asm__("x1") = second;
    register uintptr_t x2 __asm__("x2") = third;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return (intptr_t)x0;
#else
    register uintptr_t r0 __asm__("r0") = first;
    register uintptr_t r1 __asm__("r1") = second;
    register uintptr_t r2 __asm__("r2") = third;
    register uintptr_t r7 __asm__("r7") = number;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2) : "memory");
    return (intptr_t)r0;
#endif
}

static inline __attribute__((always_inline)) void port_open(void) {}

/* The number of bytes that came; 0 at the end. */
static inline __attribute__((always_inline)) uintptr_t port_read(void *data, uintptr_t size) {
    intptr_t got = port_call(READ_CALL, 0, (uintptr_t)data, size);
    return got > 0 ? (uintptr_t)got : 0;
}

static inline __attribute__((always_inline, noreturn)) void port_exit(uintptr_t status) {
    for (;;) port_call(EXIT_CALL, status, 0, 0);
}

static inline __attribute__((always_inline)) void port_write(const void *data, uintptr_t size) {
    const uint8_t *next = data;
    while (size > 0) {
        intptr_t put = port_call(WRITE_CALL, 1, (uintptr_t)next, size);
        if (put <= 0) port_exit(1);
        next += put;
        size -= (uintptr_t)put;
    }
}

#endif

/* Cores emulated by QEMU as whole boards: files of the host through semihosting. */
#ifndef PRUNEKIT_SEMIHOSTING_H
#define PRUNEKIT_SEMIHOSTING_H

#include <stdint.h>

#define PORT_STACK_OVERFLOW 3
#define PORT_FAULT 4

typedef uint32_t port_cell;

extern uint32_t prunekit_bss_end[];

/* Takes no stack: see the start code of each family. */
uintptr_t prunekit_semihosting(uintptr_t operation, const void *block);

enum { OPEN_FILE = 0x01, WRITE_FILE = 0x05, READ_FILE = 0x06, EXIT_WITH_STATUS = 0x20 };

static uintptr_t port_in, port_out;

static inline __attribute__((always_inline)) uintptr_t port_stack_pointer(void) {
    uintptr_t pointer;
#ifdef __arm__
    __asm__ volatile("mov %0, sp" : "=r"(pointer));
#else
    __asm__ volatile("mv %0, sp" : "=r"(pointer));
#endif
    return pointer;
}

static inline __attribute__((always_inline)) uintptr_t port_stack_bottom(uintptr_t stack_top) {
    (void)stack_top;
    return (uintptr_t)prunekit_bss_end;
}

static inline __attribute__((always_inline)) uintptr_t port_call(uintptr_t operation, uintptr_t first,
                                                                 uintptr_t second, uintptr_t third) {
    uintptr_t block[3];
    block[0] = first;
    block[1] = second;
    block[2] = third;
    return prunekit_semihosting(operation, block);
}

static inline __attribute__((always_inline)) void port_open(void) {
    port_in = port_call(OPEN_FILE, (uintptr_t) "/dev/stdin", 1, 10);
    port_out = port_call(OPEN_FILE, (uintptr_t) "/dev/stdout", 5, 11);
}

/* The number of bytes that came; 0 at the end. */
static inline __attribute__((always_inline)) uintptr_t port_read(void *data, uintptr_t size) {
    return size - port_call(READ_FILE, port_in, (uintptr_t)data, size);
}

static inline __attribute__((always_inline)) void port_write(const void *data, uintptr_t size) {
    port_call(WRITE_FILE, port_out, (uintptr_t)data, size);
}

static inline __attribute__((always_inline, noreturn)) void port_exit(uintptr_t status) {
    port_call(EXIT_WITH_STATUS, 0x20026, status, 0);
    for (;;) {
    }
}

#endif

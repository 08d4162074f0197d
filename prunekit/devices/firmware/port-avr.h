/* AVR under simavr: bytes through general purpose I/O registers that the host program watches (simavr_host.c). */
#ifndef PRUNEKIT_AVR_H
#define PRUNEKIT_AVR_H

#include <avr/io.h>
#include <stdint.h>

#define PORT_STACK_OVERFLOW 3

typedef uint8_t port_cell;

extern uint8_t __heap_start[];

/* The stack pointer is the first free address here; elsewhere it is the last used one. */
static inline __attribute__((always_inline)) uintptr_t port_stack_pointer(void) { return SP + 1; }

static inline __attribute__((always_inline)) uintptr_t port_stack_bottom(uintptr_t stack_top) {
    (void)stack_top;
    return (uintptr_t)__heap_start;
}

static inline __attribute__((always_inline)) void port_open(void) {}

/* The number of bytes that came; 0 at the end. */
static inline __attribute__((always_inline)) uintptr_t port_read(void *data, uintptr_t size) {
    uint8_t *next = data;
    uintptr_t left;
    for (left = size; left > 0; left--) {
        if (GPIOR2 == 0) return 0;
        *next++ = GPIOR1;
    }
    return size;
}

static inline __attribute__((always_inline)) void port_write(const void *data, uintptr_t size) {
    const uint8_t *next = data;
    while (size-- > 0) GPIOR1 = *next++;
}

static inline __attribute__((always_inline, noreturn)) void port_exit(uintptr_t status) {
    GPIOR2 = (uint8_t)status;
    for (;;) {
    }
}

#endif

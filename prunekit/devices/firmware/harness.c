/* Processor in the loop: an observation comes in, the policy is called, its action goes out, until the host closes.
 *
 * On a little-endian core the wire is: float32[inputs] in, float32[outputs] or int32 out, and after the last
 * observation uint32[2]: the bytes of stack that the call of the policy needed, and those in use with the harness.
 * The build puts "under-test.h" beside this file: the policy's header, PolicyAction, PolicyInputs, and PolicyOutputs
 * where the action is a vector. No policy can have these names, as it is named in lowercase letters.
 *
 * Everything that prunekit_main calls but the policy is inlined or leaves the stack alone: below the stack pointer
 * of the call only the policy writes.
 */
#include <stdint.h>

#include "under-test.h"
#include PORT

#define INLINE static inline __attribute__((always_inline))
#define PAINT ((port_cell)UINT32_C(0xc5a5c5a5))

#ifdef PolicyOutputs
typedef void action_function(const float *observation, float *action);
static float answer[PolicyOutputs];
#else
typedef int32_t action_function(const float *observation);
static int32_t answer[1];
#endif

static float observation[PolicyInputs];
static uintptr_t call_stack;

__attribute__((noinline, used)) void prunekit_mark(void) { __asm__ volatile("" ::: "memory"); }

/* What an empty call costs is measured by calling this one from the same place. Its text differs from the mark's so
 * that the compiler does not make one function of both. */
__attribute__((noinline, used)) static void nothing(void) { __asm__ volatile("/* nothing */" ::: "memory"); }

__attribute__((noinline, noclone)) static void call_between_marks(action_function *action) {
    call_stack = port_stack_pointer();
    prunekit_mark();
#ifdef PolicyOutputs
    action(observation, answer);
#else
    answer[0] = action(observation);
#endif
    prunekit_mark();
}

INLINE int receive(void *data, uintptr_t size) {
    uint8_t *next = data;
    while (size > 0) {
        uintptr_t got = port_read(next, size);
        if (got == 0) return 0;
        next += got;
        size -= got;
    }
    return 1;
}

INLINE void paint(volatile port_cell *bottom) {
    volatile port_cell *cell = bottom;
    for (; (uintptr_t)cell + sizeof *cell <= port_stack_pointer(); cell++) *cell = PAINT;
}

INLINE uintptr_t deepest(volatile port_cell *bottom) {
    volatile port_cell *cell = bottom;
    while ((uintptr_t)cell < call_stack && *cell == PAINT) cell++;
    return (uintptr_t)cell;
}

__attribute__((noinline, noreturn, used)) void prunekit_main(uintptr_t stack_top) {
    volatile port_cell *bottom = (volatile port_cell *)port_stack_bottom(stack_top);
    uint32_t stack[2];
    uintptr_t lowest;

    port_open();
    paint(bottom);
    while (receive(observation, sizeof observation)) {
        call_between_marks((action_function *)(void (*)(void))nothing);
        call_between_marks(PolicyAction);
        if (*bottom != PAINT) port_exit(PORT_STACK_OVERFLOW);
        port_write(answer, sizeof answer);
    }
    lowest = deepest(bottom);
    stack[0] = (uint32_t)(call_stack - lowest);
    stack[1] = (uint32_t)(stack_top - lowest);
    port_write(stack, sizeof stack);
    port_exit(0);
}

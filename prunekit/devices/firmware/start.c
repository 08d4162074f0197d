/* From reset to prunekit_main on boards: static data, and what each family needs before C runs. */
#include "port-semihosting.h"

extern uint32_t prunekit_data_source[], prunekit_data[], prunekit_data_end[], prunekit_bss[];

void prunekit_stack_top(void); /* an address, not a function: the first entry of the table of vectors */
void prunekit_reset(void);
__attribute__((noreturn)) void prunekit_main(uintptr_t stack_top);

#ifdef __arm__

__asm__(".syntax unified\n"
        ".section .text.prunekit_semihosting,\"ax\",%progbits\n"
        ".global prunekit_semihosting\n"
        ".type prunekit_semihosting,%function\n"
        ".thumb_func\n"
        "prunekit_semihosting:\n"
        "    bkpt 0xab\n"
        "    bx lr\n"
        ".text\n");

static void fault(void) { port_exit(PORT_FAULT); }

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    prunekit_stack_top, prunekit_reset, fault, fault, fault, fault, fault,
    fault, fault, fault, fault, fault, fault, fault, fault, fault};

static inline __attribute__((always_inline)) void start_core(void) {
#ifdef __ARM_FP
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20; /* CPACR: full access to the floating-point unit */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
}

#else

__asm__(".section .vectors,\"ax\",@progbits\n"
        ".option push\n"
        ".option norelax\n"
        "    la gp, __global_pointer$\n"
        ".option pop\n"
        "    la sp, prunekit_stack_top\n"
        "    j prunekit_reset\n"
        ".section .text.prunekit_semihosting,\"ax\",@progbits\n"
        ".global prunekit_semihosting\n"
        ".type prunekit_semihosting,@function\n"
        ".option push\n"
        ".option norvc\n"
        ".balign 16\n" /* the three words that ask for semihosting must lie in one page */
        "prunekit_semihosting:\n"
        "    slli zero, zero, 0x1f\n"
        "    ebreak\n"
        "    srai zero, zero, 7\n"
        "    ret\n"
        ".option pop\n"
        ".text\n");

__attribute__((aligned(4))) static void fault(void) { port_exit(PORT_FAULT); }

static inline __attribute__((always_inline)) void start_core(void) {
    __asm__ volatile(".option push\n\t.option arch, +zicsr\n\tcsrw mtvec, %0\n\t.option pop" : : "r"(fault));
#ifdef __riscv_flen
    __asm__ volatile(".option push\n\t.option arch, +zicsr\n\tcsrs mstatus, %0\n\t.option pop" : : "r"(0x6000));
#endif
}

#endif

__attribute__((noreturn, used)) void prunekit_reset(void) {
    const uint32_t *source = prunekit_data_source;
    uint32_t *word;
    start_core();
    for (word = prunekit_data; word < prunekit_data_end; word++) *word = *source++;
    for (word = prunekit_bss; word < prunekit_bss_end; word++) *word = 0;
    prunekit_main((uintptr_t)prunekit_stack_top);
}

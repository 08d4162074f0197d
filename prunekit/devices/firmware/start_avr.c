/* avr-libc starts the core; its main only hands over. */
#include "port-avr.h"

extern char __stack; /* the address where the stack begins: the end of RAM unless the linker was told another one */
void prunekit_main(uintptr_t stack_top);

__attribute__((OS_main)) int main(void) {
    prunekit_main((uintptr_t)&__stack + 1);
    return 0;
}

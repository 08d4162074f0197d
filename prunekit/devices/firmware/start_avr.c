/* avr-libc starts the core; its main only hands over. */
#include "port-avr.h"

void prunekit_main(uintptr_t stack_top);

__attribute__((OS_main)) int main(void) {
    prunekit_main((uintptr_t)RAMEND + 1);
    return 0;
}

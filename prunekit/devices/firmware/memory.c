/* What a compiler may call though no C library is linked; left out of the image where it does not. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    uint8_t *target = to;
    const uint8_t *source = from;
    if ((((uintptr_t)target | (uintptr_t)source) & 3) == 0) {
        for (; size >= 4; size -= 4, target += 4, source += 4)
            *(uint32_t *)(void *)target = *(const uint32_t *)(const void *)source;
    }
    while (size-- > 0) *target++ = *source++;
    return to;
}

void *memmove(void *to, const void *from, size_t size) {
    uint8_t *target = to;
    const uint8_t *source = from;
    if ((uintptr_t)target <= (uintptr_t)source) {
        if ((((uintptr_t)target | (uintptr_t)source) & 3) == 0) {
            for (; size >= 4; size -= 4, target += 4, source += 4)
                *(uint32_t *)(void *)target = *(const uint32_t *)(const void *)source;
        }
        while (size-- > 0) *target++ = *source++;
    } else {
        while (size-- > 0) target[size] = source[size];
    }
    return to;
}

void *memset(void *to, int value, size_t size) {
    uint8_t *target = to;
    uint32_t word = (uint8_t)value * UINT32_C(0x01010101);
    while (size > 0 && ((uintptr_t)target & 3) != 0) {
        *target++ = (uint8_t)value;
        size--;
    }
    for (; size >= 4; size -= 4, target += 4) *(uint32_t *)(void *)target = word;
    while (size-- > 0) *target++ = (uint8_t)value;
    return to;
}

/* Runs an AVR image in libsimavr: standard input and output are the wire of harness.c, cycles go to a file.
 *
 *     simavr_host IMAGE.elf MCU MARK RAM_END [CYCLES]
 *
 * RAM_END is the last address of RAM, 0 for that of the chip. MARK is the address of prunekit_mark. CYCLES gets one line per inference: the cycles of the call of the policy
 * less those of calling a function that does nothing from the same place.
 */
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>
#include <simavr/sim_io.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DATA_REGISTER = 0x4a, CONTROL_REGISTER = 0x4b }; /* GPIOR1, GPIOR2 in data space */

static int pending = EOF;
static int ended = 0, status = 0;

static uint8_t on_data_read(struct avr_t *avr, avr_io_addr_t address, void *unused) {
    (void)address;
    (void)unused;
    avr->data[DATA_REGISTER] = (uint8_t)pending;
    return (uint8_t)pending;
}

static void on_data_write(struct avr_t *avr, avr_io_addr_t address, uint8_t value, void *unused) {
    (void)avr;
    (void)address;
    (void)unused;
    putchar(value);
}

static uint8_t on_control_read(struct avr_t *avr, avr_io_addr_t address, void *unused) {
    (void)address;
    (void)unused;
    if (fflush(stdout) != 0) exit(1);
    pending = getchar();
    avr->data[CONTROL_REGISTER] = pending != EOF;
    return pending != EOF;
}

static void on_control_write(struct avr_t *avr, avr_io_addr_t address, uint8_t value, void *unused) {
    (void)avr;
    (void)address;
    (void)unused;
    ended = 1;
    status = value;
}

static void log_to_stderr(struct avr_t *avr, const int level, const char *format, va_list arguments) {
    (void)avr;
    if (level <= LOG_ERROR) vfprintf(stderr, format, arguments);
}

int main(int count, char **arguments) {
    elf_firmware_t firmware;
    avr_t *avr;
    FILE *cycles = NULL;
    uint64_t at[4];
    unsigned seen = 0;
    avr_flashaddr_t mark;

    if (count < 5) return 2;
    avr_global_logger_set(log_to_stderr);
    memset(&firmware, 0, sizeof firmware);
    avr = avr_make_mcu_by_name(arguments[2]);
    if (avr == NULL || elf_read_firmware(arguments[1], &firmware) != 0) {
        fprintf(stderr, "%s: cannot be loaded into a %s\n", arguments[1], arguments[2]);
        return 2;
    }
    mark = (avr_flashaddr_t)strtoul(arguments[3], NULL, 0);
    if (count > 5 && (cycles = fopen(arguments[5], "w")) == NULL) {
        perror(arguments[5]);
        return 2;
    }
    if (strtoul(arguments[4], NULL, 0) != 0) avr->ramend = (uint16_t)strtoul(arguments[4], NULL, 0);
    firmware.frequency = 16000000;
    avr_init(avr);
    avr_load_firmware(avr, &firmware);
    avr_register_io_read(avr, DATA_REGISTER, on_data_read, NULL);
    avr_register_io_write(avr, DATA_REGISTER, on_data_write, NULL);
    avr_register_io_read(avr, CONTROL_REGISTER, on_control_read, NULL);
    avr_register_io_write(avr, CONTROL_REGISTER, on_control_write, NULL);

    while (!ended) {
        int state;
        if (avr->pc == mark && cycles != NULL) {
            at[seen++] = avr->cycle;
            if (seen == 4) {
                fprintf(cycles, "%llu\n", (unsigned long long)((at[3] - at[2]) - (at[1] - at[0])));
                seen = 0;
            }
        }
        state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed) {
            fprintf(stderr, "the core stopped at address 0x%x\n", (unsigned)avr->pc);
            return 4;
        }
    }
    if (cycles != NULL && fclose(cycles) != 0) return 1;
    return fflush(stdout) != 0 ? 1 : status;
}

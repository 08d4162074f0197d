/* A TCG plugin of QEMU: exact instruction counts of each inference, one line each.
 *
 *     -plugin FILE,mark=ADDRESS,out=FILE
 *
 * A counter is raised inline by every instruction executed; the first instruction of prunekit_mark reads it. An
 * inference passes four marks: two around a call of a function that does nothing, two around the policy, from the
 * same code. The difference of the two distances is what the policy executes beyond an empty function, with not one
 * instruction of the harness in it. An instruction whose condition fails is executed, too.
 *
 * Debian ships no header for plugins; what is declared here is the part of QEMU's interface in use: version 1, up to
 * QEMU 8, or with PluginApi 2 that of QEMU 9 and later, where a counter belongs to each core.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VISIBLE __attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint64_t plugin_id;
typedef void block_callback(plugin_id id, struct qemu_plugin_tb *block);
typedef void instruction_callback(unsigned int core, void *data);
enum { NO_REGISTERS = 0, ADD_64_BITS = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, block_callback *callback);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *instruction,
                                                   instruction_callback *callback, int registers, void *data);

#if PluginApi >= 2
struct qemu_plugin_scoreboard;
typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} counter;
extern struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
extern uint64_t qemu_plugin_u64_get(counter entry, unsigned int core);
extern void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *instruction, int operation,
                                                                counter entry, uint64_t amount);
static counter executed;
static void begin(void) { executed.score = qemu_plugin_scoreboard_new(sizeof(uint64_t)); }
static uint64_t count_of(unsigned int core) { return qemu_plugin_u64_get(executed, core); }
static void count_at(struct qemu_plugin_insn *instruction) {
    qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, ADD_64_BITS, executed, 1);
}
#else
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *instruction, int operation,
                                                       void *counter, uint64_t amount);
static uint64_t executed;
static void begin(void) {}
static uint64_t count_of(unsigned int core) {
    (void)core;
    return executed;
}
static void count_at(struct qemu_plugin_insn *instruction) {
    qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD_64_BITS, &executed, 1);
}
#endif

VISIBLE int qemu_plugin_version = PluginApi;
VISIBLE int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments);

static uint64_t mark, at[4];
static unsigned seen;
static FILE *out;

static void on_mark(unsigned int core, void *data) {
    (void)data;
    at[seen++] = count_of(core);
    if (seen == 4) {
        fprintf(out, "%llu\n", (unsigned long long)((at[3] - at[2]) - (at[1] - at[0])));
        seen = 0;
    }
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *block) {
    size_t index, count = qemu_plugin_tb_n_insns(block);
    (void)id;
    for (index = 0; index < count; index++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, index);
        count_at(instruction);
        if (qemu_plugin_insn_vaddr(instruction) == mark)
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_mark, NO_REGISTERS, NULL);
    }
}

VISIBLE int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments) {
    int index;
    (void)info;
    for (index = 0; index < count; index++) {
        if (strncmp(arguments[index], "mark=", 5) == 0) mark = strtoull(arguments[index] + 5, NULL, 0);
        if (strncmp(arguments[index], "out=", 4) == 0) out = fopen(arguments[index] + 4, "w");
    }
    if (out == NULL || mark == 0) {
        fprintf(stderr, "the counting plugin needs mark=ADDRESS and out=FILE\n");
        return 1;
    }
    begin();
    setvbuf(out, NULL, _IOLBF, BUFSIZ);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}

/* Runs a command as on an x86-64 CPU that has AVX2 and nothing newer: no AVX-512, VNNI or AMX.
 *
 *     cc -O2 -shared -fPIC -o hide_vnni.so tools/hide_vnni.c
 *     LD_PRELOAD=./hide_vnni.so fcn-onnx doctor
 *
 * onnxruntime and OpenVINO choose their int8 kernels by the CPUID instruction. Where Linux lets a thread make that
 * instruction fault (arch_prctl ARCH_SET_CPUID; `cpuid_fault` in /proc/cpuinfo), the fault is answered here with the
 * real values less those features. So the kernels that saturate can be tried, at full speed, on a machine whose own do
 * not. pytest needs `-p no:faulthandler`, as its handler of SIGSEGV would replace this one. Where CPUID cannot fault
 * (AMD), `qemu-x86_64 -cpu Haswell` emulates such a CPU, slowly; kernel_pairs.py uses it.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { SET_CPUID = 0x1012, FAULT = 0, ALLOW = 1 };

static struct sigaction previous;

static void hide(uint32_t leaf, uint32_t subleaf, uint32_t registers[4])
{
    if (leaf != 7)
        return;
    if (subleaf == 0) {
        /* EBX: AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL; ECX: VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ;
         * EDX: AVX512 4VNNIW, 4FMAPS, VP2INTERSECT, AMX-BF16, AVX512-FP16, AMX-TILE, AMX-INT8 */
        registers[1] &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31);
        registers[2] &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14);
        registers[3] &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25);
    } else if (subleaf == 1) {
        /* EAX: AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA; EDX: AVX-VNNI-INT8 and its like */
        registers[0] &= ~(1u << 4 | 1u << 5 | 1u << 21 | 1u << 23);
        registers[3] = 0;
    }
}

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    (void)info;
    greg_t *saved = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *code = (const uint8_t *)saved[REG_RIP];
    if (code[0] != 0x0f || code[1] != 0xa2) { /* not CPUID: the fault is someone else's */
        sigaction(SIGSEGV, &previous, NULL);
        return;
    }
    uint32_t leaf = (uint32_t)saved[REG_RAX], subleaf = (uint32_t)saved[REG_RCX], found[4];
    syscall(SYS_arch_prctl, SET_CPUID, ALLOW);
    __cpuid_count(leaf, subleaf, found[0], found[1], found[2], found[3]);
    syscall(SYS_arch_prctl, SET_CPUID, FAULT);
    hide(leaf, subleaf, found);
    saved[REG_RAX] = found[0];
    saved[REG_RBX] = found[1];
    saved[REG_RCX] = found[2];
    saved[REG_RDX] = found[3];
    saved[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, &previous);
    if (syscall(SYS_arch_prctl, SET_CPUID, FAULT) != 0) {
        fputs("hide_vnni: this kernel or CPU cannot make CPUID fault\n", stderr);
        _exit(1);
    }
}

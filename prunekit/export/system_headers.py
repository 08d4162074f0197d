"""Names of system headers that a policy's header must not hide.

If a folder on the include path (``-I``) has a file ``sched.h``, the compiler takes it instead of the system's, even for
the system's own headers, and the errors do not show the cause. A policy with such a name is therefore called
``policy_sched``. A prefix for all names would change the names that users include today, and make most names longer for
the sake of a few. ``--name`` sets any other name.

Names are lowercase, because some file systems do not distinguish ``Wire.h`` from ``wire.h``. Only headers outside
subfolders are listed.
"""

from __future__ import annotations

_C = """
assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic
stdbit stdbool stdckdint stddef stdint stdio stdlib stdmchar stdnoreturn string tgmath threads time uchar wchar wctype
"""
_POSIX_AND_UNIX = """
aio aliases alloca ansidecl ar argp argz backtrace bfd bitstring byteswap cpio crypt curses db devctl devinfo dirent
dlfcn dwarf elf endian envlock envz err error eti etip execinfo fcntl features fmtmsg fnmatch form fpu_control fstab
fts ftw gconv getopt glob gnu_versions grp gshadow histedit iconv ieee754 ieeefp ifaddrs langinfo lastlog libaio
libelf libgen libintl libproc libunwind libutil link login_cap malloc mcheck membership memory menu mntent monetary
mpool mqueue ncurses ndbm netdb netgroup newlib nl_types nlist nss ntsecapi obstack panel paths poll prctl printf
proc_service pthread pthread_np pty pwd quadmath ranlib re_comp readpassphrase reent regdef regex regexp resolv rune
sched search semaphore sgtty shadow spawn stab stdfix stdio_ext strhash stringlist strings stropts syscall sysexits
syslimits syslog tar term term_entry termcap termio termios thread_db tic timeconv ttyent tzfile ucontext ulimit
unctrl unistd unwind usbhid util utime utmp utmpx values varargs vis wait wordexp xlocale
"""
_COMPILERS = """
acc_prof altivec arm_acle arm_bf16 arm_cde arm_cmse arm_fp16 arm_mve arm_mve_types arm_neon arm_sve cet cpuid
cross_stdarg fastmath float16 gcov mm3dnow mm_malloc omp openacc opencl plugin_api riscv_vector vecintrin
"""
_LIBRARIES = """
bzlib cblas expat ffi ffitarget fftw3 gmp gmpxx hdf5 idn2 jconfig jpeglib lapack lz4 lzma magic onnxruntime_c_api
patchlevel png pngconf pyconfig python sqlite3 sqlite3ext yaml zconf zdict zlib zstd
"""
_EMBEDDED = """
arduino avr client cmsis_armcc cmsis_armclang cmsis_compiler cmsis_gcc cmsis_os cmsis_os2 cmsis_version core_cm0
core_cm0plus core_cm3 core_cm33 core_cm4 core_cm7 croutine esp_attr esp_err esp_event esp_log esp_sleep esp_system
esp_timer esp_wifi ethernet event_groups firmata freertos freertosconfig fs hardwareserial io ipaddress keyboard
liquidcrystal
list main mbed message_buffer mouse mpu_armv7 new nvs nvs_flash pgmspace pins_arduino portable portmacro preferences
print printable projdefs queue sd sdkconfig semphr server servo sleep softwareserial spi spiffs stack_macros stepper
stream stream_buffer task timers twi udp usart usbapi variant wcharacter wdt webserver wifi wire wmath wstring
"""
_WINDOWS = """
accctrl aclapi aux basetsd bcrypt com1 com2 com3 com4 combaseapi commctrl commdlg con conio consoleapi corecrt crtdbg
dbghelp dde direct dos excpt fibersapi fileapi guiddef handleapi heapapi imm intrin iphlpapi libloaderapi lm lpt1 lpt2
lpt3 mbctype mbstring memoryapi minwindef mmsystem mswsock msxml ncrypt nul objbase objidl ole2 oleauto pdh powrprof
prn process processthreadsapi profileapi propidl psapi rpcndr sal sddl sdkddkver setupapi share shellapi shlobj
shlwapi specstrings stralign synchapi sysinfoapi targetver tchar timeapi tlhelp32 unknwn urlmon uxtheme version vfw
winbase wincon wincrypt windef windows windowsx winerror wingdi wininet winioctl winnls winnt winreg winsock winsock2
winspool winsvc winternl winuser winver ws2def ws2tcpip wtsapi32 wtypes xinput
"""
_MACOS = """
appleapiopts asl assertmacros authsession availability availabilitymacros block cache checkint conditionalmacros
copyfile dns_sd launch libc macerrors mactypes nameser nc_tparm notify notify_keys removefile sandbox security simd
sysdir targetconditionals tidy vproc
"""
_NAMES = frozenset(f"{_C}{_POSIX_AND_UNIX}{_COMPILERS}{_LIBRARIES}{_EMBEDDED}{_WINDOWS}{_MACOS}".split())
_INTRINSICS = "intrin"
"""What the headers of a processor's own instructions end in: ``immintrin``."""


def is_system_header(name: str) -> bool:
    """Return whether a common system has a header ``<name>.h``, or cannot have a file with that name."""
    return name in _NAMES or name.endswith(_INTRINSICS)

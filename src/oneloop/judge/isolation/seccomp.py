"""System calls that a process and all its children are denied, by a filter in the kernel (seccomp).

Two filters. `deny_dangerous`, for code of the user: no tracing of other processes, no new namespaces or
mounts, no keys, no io_uring (it goes round filters), and without `network` no sockets. `allow_computing`, for
code that handles what a model wrote: it can compute, read files it may read, and write to what is open.
A call that is denied fails with EPERM; a program for another architecture is killed.
"""

import ctypes
import struct

from oneloop.judge.isolation.system import ARCHITECTURE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, number, prctl

DANGEROUS = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
}
NETWORK = {"socket": (41, 198)}
COMPUTING = {
    "read": (0, 63),
    "write": (1, 64),
    "open": (2, -1),
    "close": (3, 57),
    "stat": (4, -1),
    "fstat": (5, 80),
    "lstat": (6, -1),
    "poll": (7, -1),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "access": (21, -1),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "getpid": (39, 172),
    "recvfrom": (45, 207),
    "sendto": (44, 206),
    "exit": (60, 93),
    "uname": (63, 160),
    "fcntl": (72, 25),
    "getcwd": (79, 17),
    "readlink": (89, -1),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "time": (201, -1),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "getdents64": (217, 61),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "openat": (257, 56),
    "newfstatat": (262, 79),
    "readlinkat": (267, 78),
    "faccessat": (269, 48),
    "ppoll": (271, 73),
    "getrandom": (318, 278),
    "statx": (332, 291),
    "rseq": (334, 293),
    "faccessat2": (439, 439),
}
CLONE, CLONE3 = {"clone": (56, 220)}, {"clone3": (435, 435)}
NEW_NAMESPACES = 0x7E020000
"""The CLONE_NEW* flags of clone(2)."""

# classic BPF: (code, jump if true, jump if false, constant)
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCH, FIRST_ARGUMENT = 0, 4, 16
"""Offsets in what the kernel shows the filter (the low half of the first argument)."""
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

Instruction = tuple[int, int, int, int]


def deny_dangerous(network: bool) -> None:
    """Denies this process and its children what code of a user never needs. Raises OSError."""
    denied = DANGEROUS if network else DANGEROUS | NETWORK
    # clone3 hides its flags from filters: "no such call" makes the C library take clone instead
    program = _answers(CLONE3, ENOSYS) + _answers(denied, EPERM)
    program += [
        (EQUAL, 0, 3, number("clone", CLONE)),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (ANY_BIT, 0, 1, NEW_NAMESPACES),
        (RETURN, 0, 0, EPERM),
    ]
    _install([*program, (RETURN, 0, 0, ALLOW)])


def allow_computing() -> None:
    """Leaves this process nothing but computing, reading, and writing to what is open. Raises OSError."""
    _install([*_answers(COMPUTING, ALLOW), (RETURN, 0, 0, EPERM)])


def _answers(names: dict[str, tuple[int, int]], answer: int) -> list[Instruction]:
    numbers = [number(name, names) for name in names]
    return [step for n in numbers if n >= 0 for step in ((EQUAL, 0, 1, n), (RETURN, 0, 0, answer))]


def _install(program: list[Instruction]) -> None:
    if ARCHITECTURE is None:
        raise OSError("seccomp: unknown architecture")
    head: list[Instruction] = [
        (LOAD, 0, 0, ARCH),
        (EQUAL, 1, 0, ARCHITECTURES[ARCHITECTURE]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
    ]
    if ARCHITECTURE == "x86_64":  # the x32 names of the same calls
        head += [(AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, EPERM)]
    packed = b"".join(struct.pack("HBBI", *step) for step in head + program)
    code = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("HxxxxxxP", len(packed) // 8, ctypes.addressof(code))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, 2, ctypes.create_string_buffer(header, len(header)))

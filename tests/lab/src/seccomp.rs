//! A filter of system calls that refuses what containerd's default profile (`RuntimeDefault`) refuses to a container
//! without further capabilities.
//!
//! That profile is a list of what may be called. This is its complement for x86_64, of the calls that Linux 6.1
//! knows: what may not. It is that of containerd 1.4; later ones refuse less, but for io_uring, which is refused here
//! as well. Newer calls are not refused here, and there they are.

use serde_json::{Value, json};

/// `linux.seccomp` of a runtime's configuration.
#[must_use]
pub fn runtime_default() -> Value {
    let refused = |flag: u32| {
        let of_clone = json!({
            "index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ",
        });
        json!({ "names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [of_clone] })
    };
    let mut rules: Vec<Value> = NEW_NAMESPACES.map(refused).into();
    rules.push(json!({ "names": REFUSED, "action": "SCMP_ACT_ERRNO" }));
    // Its flags are behind a pointer, which no filter can read: libraries fall back on `clone`.
    rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }));
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })
}

/// `CLONE_NEWNS`, `CLONE_NEWCGROUP`, `CLONE_NEWUTS`, `CLONE_NEWIPC`, `CLONE_NEWUSER`, `CLONE_NEWPID`, `CLONE_NEWNET`.
pub const NEW_NAMESPACES: [u32; 7] =
    [1 << 17, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30];

/// What `clone3` is answered with.
pub const ENOSYS: u32 = 38;

/// What may not be called, whatever its arguments are.
pub const REFUSED: &[&str] = &[
    "_sysctl",
    "acct",
    "add_key",
    "adjtimex",
    "afs_syscall",
    "bpf",
    "chroot",
    "clock_adjtime",
    "clock_settime",
    "close_range",
    "create_module",
    "delete_module",
    "epoll_pwait2",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "futex_waitv",
    "get_kernel_syms",
    "get_mempolicy",
    "getpmsg",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "landlock_add_rule",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "lookup_dcookie",
    "mbind",
    "membarrier",
    "memfd_secret",
    "migrate_pages",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "name_to_handle_at",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pidfd_getfd",
    "pidfd_open",
    "pidfd_send_signal",
    "pivot_root",
    "pkey_alloc",
    "pkey_free",
    "pkey_mprotect",
    "preadv2",
    "process_madvise",
    "process_mrelease",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "putpmsg",
    "pwritev2",
    "query_module",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "rseq",
    "security",
    "set_mempolicy",
    "set_mempolicy_home_node",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "sysfs",
    "tuxcall",
    "umount2",
    "unshare",
    "uselib",
    "userfaultfd",
    "ustat",
    "vhangup",
    "vserver",
];

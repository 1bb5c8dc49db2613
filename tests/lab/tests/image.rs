//! The image, run as Kubernetes runs it: root's profile and that of file capabilities.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use mooring_lab::address::{CLIENT, POOL, SERVER, at};
use mooring_lab::isolation::SCRATCH;
use mooring_lab::peers::{HttpServer, Ping, UdpEcho, download, receive};
use mooring_lab::{
    Config, Container, Image, KernelAddresses, Lab, Process, SecurityContext, isolated,
};
use rustix::process::Signal;

/// Profile A of docs/kubernetes.md.
const ROOT: SecurityContext = SecurityContext { user: 0, add: &["NET_RAW"], escalation: false };
/// Profile B.
const OTHER: SecurityContext =
    SecurityContext { user: 65_532, add: &["NET_RAW"], escalation: true };
/// How the name of each profile's image ends, after the version.
const IMAGE_ROOT: &str = "";
const IMAGE_OTHER: &str = "-file-capabilities";
/// Bits of linux/capability.h.
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;

#[test]
fn the_image_translates_as_root_with_net_raw_alone() {
    test("the_image_translates_as_root_with_net_raw_alone", || {
        translates(&Image::unpack(IMAGE_ROOT)?, ROOT, &Lab::new()?, NET_RAW)
    });
}

#[test]
fn the_image_translates_as_another_user_by_file_capabilities() {
    test("the_image_translates_as_another_user_by_file_capabilities", || {
        translates(&Image::unpack(IMAGE_OTHER)?, OTHER, &Lab::new()?, NET_RAW)
    });
}

/// A kernel that forwards, as Pods inherit it: the ingress drop needs NET_ADMIN.
#[test]
fn both_profiles_keep_a_forwarding_kernel_out_with_net_admin() {
    test("both_profiles_keep_a_forwarding_kernel_out_with_net_admin", || {
        for (suffix, context) in [(IMAGE_ROOT, ROOT), (IMAGE_OTHER, OTHER)] {
            let image = Image::unpack(suffix)?;
            let lab = Lab::pod_like(KernelAddresses::Beside)?;
            let refused = Container::refused(&image, context, &lab.gateway, &Config::nat44())?;
            assert_eq!(refused.code, Some(1), "{}", refused.stderr);
            ensure!(refused.stderr.contains("capabilities.add: [NET_ADMIN]"), "{}", refused.stderr);
            let context = SecurityContext { add: &["NET_RAW", "NET_ADMIN"], ..context };
            translates(&image, context, &lab, NET_RAW | NET_ADMIN)?;
        }
        Ok(())
    });
}

#[test]
fn the_image_for_another_user_runs_as_root_as_well() {
    test("the_image_for_another_user_runs_as_root_as_well", || {
        translates(&Image::unpack(IMAGE_OTHER)?, ROOT, &Lab::new()?, NET_RAW)
    });
}

#[test]
fn a_field_of_the_pod_that_is_wrong_is_named() {
    test("a_field_of_the_pod_that_is_wrong_is_named", || {
        let add = "securityContext.capabilities.add: [NET_RAW]";
        let wrong = "image `...-file-capabilities`";
        for (suffix, context, named) in [
            (IMAGE_OTHER, SecurityContext { add: &[], ..OTHER }, add),
            (IMAGE_ROOT, SecurityContext { add: &[], ..ROOT }, add),
            (IMAGE_ROOT, OTHER, wrong),
        ] {
            let (image, lab) = (Image::unpack(suffix)?, Lab::new()?);
            let exit = Container::refused(&image, context, &lab.gateway, &Config::nat44())?;
            assert_eq!(exit.code, Some(1), "{context:?}: {}", exit.stderr);
            for words in ["CAP_NET_RAW", named] {
                ensure!(exit.stderr.contains(words), "{context:?}: `{words}`: {}", exit.stderr);
            }
        }
        Ok(())
    });
}

/// The kernel takes from the file only what the process had that runs it (`cap_bprm_creds_from_file`): a shell or an
/// init between the runtime and us has nothing.
#[test]
fn file_capabilities_that_no_new_privs_takes_away_are_told_by_the_field() {
    test("file_capabilities_that_no_new_privs_takes_away_are_told_by_the_field", || {
        let (image, lab) = (Image::unpack(IMAGE_OTHER)?, Lab::new()?);
        let file = format!("{SCRATCH}/mooring.toml");
        let socket = "control_socket = \"/run/lab/socket/control.sock\"";
        fs::write(&file, Config::nat44().appliance(socket).to_string())?;
        fs::create_dir(format!("{SCRATCH}/socket"))?;
        fs::set_permissions(format!("{SCRATCH}/socket"), fs::Permissions::from_mode(0o777))?;
        let run = |no_new_privs: &[&str]| {
            let mut command = lab.gateway.command("setpriv");
            command.args(["--reuid", "65532", "--regid", "65532", "--clear-groups"]);
            command.args(no_new_privs).args(["sh", "-c", "exec \"$0\" \"$@\""]);
            command.arg(image.root.join("mooring")).args(["run", "-c", &file]);
            Process::spawn("mooring run", &mut command)
        };
        let exit = run(&["--no-new-privs"])?.wait()?;
        assert_eq!(exit.code, Some(1), "{}", exit.stderr);
        let named = "securityContext.allowPrivilegeEscalation: true";
        ensure!(exit.stderr.contains(named), "{}", exit.stderr);
        let mut allowed = run(&[])?;
        allowed.wait_for_line("ready")?;
        allowed.signal(Signal::TERM)?;
        assert_eq!(allowed.wait()?.code, Some(0));
        Ok(())
    });
}

/// With crun, as with runc, the process that runs our file has what the Pod adds, also as another user: so the file's
/// capabilities are no gain, and `allowPrivilegeEscalation: false` takes nothing away.
#[test]
fn file_capabilities_count_without_escalation_where_the_runtime_has_them_itself() {
    test("file_capabilities_count_without_escalation_where_the_runtime_has_them_itself", || {
        let context = SecurityContext { escalation: false, ..OTHER };
        translates(&Image::unpack(IMAGE_OTHER)?, context, &Lab::new()?, NET_RAW)
    });
}

/// The control of the filter of system calls under which all of this runs.
#[test]
fn the_filter_of_system_calls_refuses_what_a_runtime_refuses() {
    isolated("the_filter_of_system_calls_refuses_what_a_runtime_refuses", || {
        for (program, may) in [
            (&["true"][..], true),
            (&["unshare", "--uts", "true"], false),
            (&["chroot", "/", "true"], false),
            (&["mount", "-t", "tmpfs", "none", "/mnt"], false),
            (&["nsenter", "--uts=/proc/1/ns/uts", "true"], false),
        ] {
            let exit = Container::filtered(program)?;
            assert_eq!(exit.code == Some(0), may, "{program:?}: {exit:?}");
            let refused = exit.stderr.contains("Operation not permitted");
            ensure!(may || refused || exit.stderr.contains("permission denied"), "{exit:?}");
        }
        Ok(())
    });
}

#[test]
fn the_unpacked_image_has_our_files_and_no_others() {
    test("the_unpacked_image_has_our_files_and_no_others", || {
        for suffix in [IMAGE_ROOT, IMAGE_OTHER] {
            let image = Image::unpack(suffix)?;
            let expected = [
                "etc",
                "etc/group",
                "etc/mooring",
                "etc/passwd",
                "etc/podinfo",
                "licenses",
                "licenses/LICENSE-APACHE",
                "licenses/LICENSE-MIT",
                "licenses/THIRD-PARTY-LICENSES",
                "mooring",
                "run",
                "run/mooring",
                "sbom.spdx.json",
            ];
            assert_eq!(image.files()?, expected);
        }
        Ok(())
    });
}

/// Ping, UDP and TCP come from the pool; the process has these rights, and no more.
fn translates(image: &Image, context: SecurityContext, lab: &Lab, rights: u64) -> Result<()> {
    let container = Container::start(image, context, &lab.gateway, &Config::nat44())?;
    Ping::new(&lab.client, CLIENT, SERVER)?.send(56)?;
    let echo = UdpEcho::start(&lab.server, at(SERVER, 7000))?;
    let client = lab.client.udp(at(CLIENT, 5000))?;
    client.connect(at(SERVER, 7000))?;
    client.send(b"through the container")?;
    assert_eq!(receive(&client)?.0, b"through the container");
    assert_eq!(echo.next_source()?.ip(), POOL);
    let server = HttpServer::start(&lab.server, at(SERVER, 8080))?;
    download(&lab.client, at(SERVER, 8080), 1_000_000)?;
    assert_eq!(server.next_client()?.ip(), POOL);
    let sessions = container.exec(&["/mooring", "show", "sessions"])?;
    ensure!(sessions.contains("203.0.113.10"), "{sessions}");
    let user = container.status("Uid")?;
    assert_eq!(user.split_whitespace().next(), Some(context.user.to_string().as_str()));
    for key in ["CapPrm", "CapEff"] {
        assert_eq!(u64::from_str_radix(&container.status(key)?, 16)?, rights, "{key}");
    }
    assert_eq!(container.status("Seccomp")?, "2", "a filter");
    let no_new_privs = if context.escalation { "0" } else { "1" };
    assert_eq!(container.status("NoNewPrivs")?, no_new_privs);
    container.stop().map(drop)
}

/// With an image, which is built where there is a network.
fn test(name: &str, body: impl FnOnce() -> Result<()>) {
    Image::build();
    isolated(name, body);
}

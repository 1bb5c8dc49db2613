//! Bad input and bad surroundings: one clear message, the exit code of the contract, nothing left
//! behind.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use mooring_lab::clock::{LIMIT, wait_for};
use mooring_lab::{Appliance, Config, Exit, Lab, Site, Variant, isolated, mooring_binary};

#[test]
fn an_unknown_key_names_its_line() {
    isolated("an_unknown_key_names_its_line", || {
        assert_bad(&Config::nat44().appliance("wrokers = 2"), "wrokers")
    });
}

#[test]
fn a_dangling_name_names_its_line() {
    isolated("a_dangling_name_names_its_line", || {
        assert_bad(&Config::nat44().replace("pool = \"egress\"", "pool = \"igress\""), "igress")
    });
}

#[test]
fn an_impossible_value_names_its_line() {
    isolated("an_impossible_value_names_its_line", || {
        assert_bad(&Config::nat44().replace("203.0.113.10/32", "203.0.113.300/32"), "203.0.113.300")
    });
}

#[test]
fn text_that_is_no_toml_names_its_line() {
    isolated("text_that_is_no_toml_names_its_line", || {
        let lab = Lab::new()?;
        let broken = Config::nat44().replace("version = 1", "version = = 1");
        let exit = Appliance::refused(&lab.gateway, "check", &broken, &[])?;
        assert_eq!(exit.code, Some(2), "{}", exit.stderr);
        assert!(exit.stderr.contains(".toml:1:"), "the first line: {}", exit.stderr);
        Ok(())
    });
}

#[test]
fn a_good_configuration_passes_the_check() {
    isolated("a_good_configuration_passes_the_check", || {
        let lab = Lab::new()?;
        let exit = Appliance::refused(&lab.gateway, "check", &Config::nat44(), &[])?;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        assert!(!exit.stderr.contains("error"), "{}", exit.stderr);
        Ok(())
    });
}

/// The library's own list of mistakes, through the binary: the same words, and exit code 2.
#[test]
fn every_listed_mistake_is_told_by_the_binary() {
    isolated("every_listed_mistake_is_told_by_the_binary", || {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/policy/tests/bad");
        let mut told = 0;
        for entry in fs::read_dir(&folder)? {
            let expected_file = entry?.path();
            if expected_file.extension().is_none_or(|extension| extension != "txt") {
                continue;
            }
            let expected = fs::read_to_string(&expected_file)?;
            let name = expected_file.with_extension("toml");
            let name = name.file_name().unwrap_or_default();
            let output = std::process::Command::new(mooring_binary()?)
                .args(["check".as_ref(), "-c".as_ref(), name])
                .current_dir(&folder)
                .output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(said.trim() == expected.trim(), "{name:?}: {said}");
            let code = if expected.contains("error:") { 2 } else { 0 };
            ensure!(output.status.code() == Some(code), "{name:?}: {}", output.status);
            told += 1;
        }
        ensure!(told >= 15, "only {told} files");
        Ok(())
    });
}

/// In a Pod without the device: what to add, in the error itself.
#[test]
fn a_missing_tun_device_is_named_with_what_to_add() {
    isolated("a_missing_tun_device_is_named_with_what_to_add", || {
        let site = Site::new(Variant::Tap)?;
        let hidden = ["unshare", "--mount", "sh", "-c", HIDE_TUN, "-"];
        let exit = Appliance::refused(&site.gateway, "run", &site.config(), &hidden)?;
        assert_eq!(exit.code, Some(1), "{}", exit.stderr);
        assert_one_message(&exit, "/dev/net/tun");
        assert!(exit.stderr.contains("hint:"), "{}", exit.stderr);
        Ok(())
    });
}

/// The tap is ours: it goes with its process, however that ends, and the next start makes it anew.
#[test]
fn a_tap_goes_with_its_process() {
    isolated("a_tap_goes_with_its_process", || {
        let site = Site::new(Variant::Tap)?;
        let gone = || {
            wait_for("the tap to go", LIMIT, || {
                let links = site.gateway.output("ip", &["-brief", "link"])?;
                Ok((!links.contains("tap0")).then_some(()))
            })
        };
        site.start(&site.config())?.kill()?;
        gone()?;
        site.start(&site.config())?.stop()?;
        gone()
    });
}

/// A device of that name that is somebody else's is left alone.
#[test]
fn a_device_of_another_kind_is_no_tap() {
    isolated("a_device_of_another_kind_is_no_tap", || {
        let site = Site::new(Variant::Tap)?;
        site.gateway.ip("link add tap0 type bridge")?;
        let exit = Appliance::refused(&site.gateway, "run", &site.config(), &[])?;
        assert_eq!(exit.code, Some(1), "{}", exit.stderr);
        assert_one_message(&exit, "tap0");
        ensure!(site.gateway.output("ip", &["-d", "link", "show", "tap0"])?.contains("bridge"));
        Ok(())
    });
}

#[test]
fn a_missing_device_is_named() {
    isolated("a_missing_device_is_named", || {
        let config = Config::nat44().replace("device = \"in0\"", "device = \"in9\"");
        let lab = Lab::new()?;
        let exit = Appliance::refused(&lab.gateway, "run", &config, &[])?;
        assert_refused(&lab, &exit, "in9")
    });
}

#[test]
fn a_missing_capability_is_named() {
    isolated("a_missing_capability_is_named", || {
        let lab = Lab::new()?;
        let without = ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"];
        let exit = Appliance::refused(&lab.gateway, "run", &Config::nat44(), &without)?;
        assert_refused(&lab, &exit, "CAP_NET_RAW")
    });
}

#[test]
fn a_second_instance_is_refused_and_the_first_goes_on() {
    isolated("a_second_instance_is_refused_and_the_first_goes_on", || {
        let lab = Lab::new()?;
        let mut first = Appliance::start(&lab.gateway, &Config::nat44())?;
        let second = Appliance::refused(&lab.gateway, "run", &Config::nat44(), &[])?;
        assert_eq!(second.code, Some(1), "{}", second.stderr);
        assert_one_message(&second, "control.sock");
        assert!(first.is_running()?);
        assert_eq!(first.show("sessions")?, serde_json::json!([]));
        first.stop().map(drop)
    });
}

#[test]
fn a_device_has_one_instance() {
    isolated("a_device_has_one_instance", || {
        let lab = Lab::new()?;
        // Now "the kernel is kept out" is something to say, but not for an instance that fails.
        lab.gateway.sysctl("net/ipv4/ip_forward", "1")?;
        let mut first = Appliance::start(&lab.gateway, &Config::nat44())?;
        let elsewhere = Config::nat44().appliance("control_socket = \"/run/other/control.sock\"");
        let second = Appliance::refused(&lab.gateway, "run", &elsewhere, &[])?;
        assert_eq!(second.code, Some(1), "{}", second.stderr);
        assert_one_message(&second, "another instance uses the device `in0`");
        assert!(second.stderr.contains("hint:"), "{}", second.stderr);
        assert!(!second.stderr.contains("kept out"), "{}", second.stderr);
        assert!(first.is_running()?);
        assert_eq!(first.show("sessions")?, serde_json::json!([]));
        assert!(first.stop()?.contains("kept out"));
        Appliance::start(&lab.gateway, &elsewhere)?.stop()?;
        assert_nothing_left(&lab)
    });
}

#[test]
fn a_full_disk_behind_stderr_does_not_change_the_exit() {
    isolated("a_full_disk_behind_stderr_does_not_change_the_exit", || {
        let lab = Lab::new()?;
        let full = ["sh", "-c", "exec \"$@\" >/dev/full 2>&1", "sh"];
        let missing = Config::nat44().replace("device = \"in0\"", "device = \"in9\"");
        let unknown = Config::nat44().appliance("wrokers = 2");
        let cases = [("run", missing, 1), ("run", unknown, 2), ("check", Config::nat44(), 0)];
        for (verb, config, code) in cases {
            let exit = Appliance::refused(&lab.gateway, verb, &config, &full)?;
            assert_eq!(exit.code, Some(code), "{verb}");
        }
        assert_nothing_left(&lab)
    });
}

#[test]
fn a_log_reader_that_goes_away_takes_nothing_along() {
    isolated("a_log_reader_that_goes_away_takes_nothing_along", || {
        let lab = Lab::new()?;
        // The reader leaves after `ready`, and only then makes the appliance say something more.
        let reader = "ready=$(grep -m1 ready); exec <&-; kill -HUP $$; echo \"$ready\" >&2";
        let leaves = format!("exec \"$@\" 2> >({reader})");
        let appliance = Appliance::start_limited(
            &lab.gateway,
            &Config::nat44(),
            &["bash", "-c", &leaves, "-"],
        )?;
        assert_eq!(appliance.show("sessions")?, serde_json::json!([]));
        appliance.stop()?;
        assert_nothing_left(&lab)
    });
}

#[test]
fn a_killed_instance_does_not_stand_in_the_way() {
    isolated("a_killed_instance_does_not_stand_in_the_way", || {
        let lab = Lab::new()?;
        Appliance::start(&lab.gateway, &Config::nat44())?.kill()?;
        assert!(Appliance::control_socket().exists(), "SIGKILL leaves the socket file");
        let next = Appliance::start(&lab.gateway, &Config::nat44())?;
        assert!(next.show("sessions")?.is_array());
        next.stop().map(drop)
    });
}

#[test]
fn sigterm_takes_the_socket_away() {
    isolated("sigterm_takes_the_socket_away", || {
        let lab = Lab::new()?;
        let appliance = Appliance::start(&lab.gateway, &Config::nat44())?;
        assert!(Appliance::control_socket().exists());
        appliance.stop()?;
        assert_nothing_left(&lab)
    });
}

/// `check` and `run` both say `FILE:LINE:COL: error: ...` with a hint, and exit with 2.
fn assert_bad(config: &Config, culprit: &str) -> Result<()> {
    let lab = Lab::new()?;
    let text = config.to_string();
    let line = 1 + text.lines().position(|line| line.contains(culprit)).expect("it stands there");
    for verb in ["check", "run"] {
        let exit = Appliance::refused(&lab.gateway, verb, config, &[])?;
        assert_eq!(exit.code, Some(2), "{verb}: {}", exit.stderr);
        let errors: Vec<_> = exit.stderr.lines().filter(|line| line.contains("error:")).collect();
        assert_eq!(errors.len(), 1, "{verb}: one message: {}", exit.stderr);
        assert!(errors[0].contains(&format!(".toml:{line}:")), "{verb}, line {line}: {errors:?}");
        assert!(errors[0].contains(culprit), "{verb} names it: {errors:?}");
        assert!(exit.stderr.contains("hint:"), "{verb}: {}", exit.stderr);
    }
    assert_nothing_left(&lab)
}

fn assert_refused(lab: &Lab, exit: &Exit, culprit: &str) -> Result<()> {
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert_one_message(exit, culprit);
    assert_nothing_left(lab)
}

/// One message, perhaps with a hint; never a panic or a list of causes.
fn assert_one_message(exit: &Exit, culprit: &str) {
    let errors = exit.stderr.lines().filter(|line| line.contains("error:")).count();
    assert_eq!(errors, 1, "one message: {}", exit.stderr);
    assert!(exit.stderr.contains(culprit), "names {culprit}: {}", exit.stderr);
    assert!(exit.stderr.lines().count() <= 4, "short: {}", exit.stderr);
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}

fn assert_nothing_left(lab: &Lab) -> Result<()> {
    assert!(!Appliance::control_socket().exists(), "the control socket is gone");
    assert_eq!(lab.gateway.output("nft", &["list", "ruleset"])?, "");
    let sockets = lab.gateway.output("cat", &["/proc/net/unix"])?;
    assert!(!sockets.contains("mooring"), "{sockets}");
    Ok(())
}

/// Puts an empty folder over the one of the device, for what follows.
const HIDE_TUN: &str = "mount -t tmpfs none /dev/net && exec \"$@\"";

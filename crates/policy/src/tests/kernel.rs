//! What is left to the kernel: addresses and routes of its devices.

use crate::{DeviceFacts, Facts, Hop, InterfaceId, KernelFacts, Loaded, Problems, load, load_with};

use super::address;

const POD: &str = r#"
    [[interface]]
    name = "pod"
    device = "eth0"
    addresses = "kernel"

    [[interface]]
    name = "inside"
    device = "in0"
    addresses = ["10.0.0.1/24"]
"#;

const POOL: &str = "[[pool]]\nname = \"p\"\naddresses = [\"203.0.113.10\"]\n";

/// A Pod as many CNIs make it: one address, a router outside of its prefix.
fn pod() -> KernelFacts {
    let net = |text: &str| text.parse().expect("a prefix");
    let eth0 = DeviceFacts {
        device: "eth0".to_owned(),
        addresses: vec![net("10.244.1.7/32"), net("fe80::7/64")],
        routes: vec![
            (net("0.0.0.0/0"), Some(address("169.254.1.1"))),
            (net("169.254.1.1/32"), None),
            (net("fe80::/64"), None),
            (net("ff00::/8"), None),
        ],
        mtu: 1450,
    };
    let other = DeviceFacts { device: "in0".to_owned(), ..DeviceFacts::default() };
    KernelFacts { devices: vec![other, eth0] }
}

fn facts(kernel: &KernelFacts) -> Facts<'_> {
    Facts { kernel: Some(kernel), ..Facts::default() }
}

fn with_kernel(more: &str) -> Result<Loaded, Problems> {
    load_with(&format!("{POD}{more}"), &facts(&pod()))
}

#[test]
fn addresses_of_the_kernel_are_sources_but_not_ours() {
    let policy = with_kernel("").expect("it holds").policy;
    let pod = policy.interface(InterfaceId(0));
    assert!(pod.from_kernel);
    assert_eq!(pod.addresses, ["10.244.1.7/32".parse().expect("a prefix")]);
    assert_eq!(policy.ownership(address("10.244.1.7")), None, "the kernel answers for it");
    assert!(!policy.answers_for(InterfaceId(0), address("10.244.1.7")));
    assert!(policy.announced().all(|(interface, _)| interface == InterfaceId(1)));
}

#[test]
fn routes_of_the_kernel_are_followed_also_off_the_subnet() {
    let policy = with_kernel("").expect("it holds").policy;
    let next_hop = address("169.254.1.1");
    let hop = Some(Hop { interface: InterfaceId(0), next_hop });
    assert_eq!(policy.route(address("198.51.100.1")), hop);
    assert_eq!(policy.route(next_hop), hop);
    assert_eq!(policy.route(address("fe80::9")), None, "link-local is no route");
}

#[test]
fn routes_of_the_text_win_over_the_kernels() {
    let route = "[[route]]\ndestination = \"0.0.0.0/0\"\nvia = \"10.0.0.9\"\n";
    let policy = with_kernel(route).expect("it holds").policy;
    let hop = policy.route(address("198.51.100.1")).expect("a default route");
    assert_eq!(hop.next_hop, address("10.0.0.9"));
}

#[test]
fn via_kernel_takes_the_routes_within_its_destination() {
    let listed = POD.replace("\"kernel\"", "[\"10.244.1.8/32\"]");
    let route = |destination| {
        format!("{listed}[[route]]\ndestination = \"{destination}\"\nvia = \"kernel\"\n")
    };
    let to = |text: &str| {
        let policy = load_with(text, &facts(&pod())).expect("it holds").policy;
        policy.route(address("198.51.100.1")).map(|hop| hop.interface)
    };
    assert_eq!(to(&route("0.0.0.0/0")), Some(InterfaceId(0)));
    assert_eq!(to(&format!("{}interface = \"pod\"", route("0.0.0.0/0"))), Some(InterfaceId(0)));
    assert_eq!(to(&format!("{}interface = \"inside\"", route("0.0.0.0/0"))), None);
    assert_eq!(to(&route("198.51.0.0/16")), None, "a default route is not within it");
    assert_eq!(to(&listed), None);
}

#[test]
fn an_address_of_the_kernel_is_nobody_elses() {
    let pool = POOL.replace("203.0.113.10", "10.244.1.0/28");
    let problems = with_kernel(&pool).expect_err("the stack would send RST");
    assert!(problems.to_string().contains("10.244.1.7 is the kernel's on `pod`"), "{problems}");
    let rule = "[[rule]]\nname = \"w\"\nkind = \"port-forward\"\naddress = \"10.244.1.7\"\n\
                port = 80\ntarget = \"10.0.0.2:80\"\n";
    let problems = with_kernel(rule).expect_err("the stack would send RST");
    assert!(problems.to_string().contains("its stack would answer with RST"), "{problems}");
}

#[test]
fn a_device_that_is_not_there_is_an_error_only_if_the_kernel_was_asked() {
    assert!(load(POD).is_ok());
    let route = "[[route]]\ndestination = \"0.0.0.0/0\"\nvia = \"192.0.2.9\"\n";
    assert!(load(&format!("{POD}{route}")).is_ok(), "its link is not known yet");
    let problems = load_with(POD, &facts(&KernelFacts::default())).expect_err("no such device");
    assert_eq!(problems.0[0].message, "the kernel has no device \"eth0\"");
    assert_eq!((problems.0[0].line, problems.0[0].column), (5, 5));
}

/// RFC 4787 REQ-7: what is learned outside must not conflict with the inside; both are named.
#[test]
fn what_is_learned_conflicts_with_no_other_link() {
    let net = |text: &str| text.parse().expect("a prefix");
    let told = |text: &str, address: &str, routes: &[&str]| {
        let via = Some(address_of(address));
        let routes = routes.iter().map(|route| (net(route), via)).collect();
        let (device, addresses) = ("eth0".to_owned(), vec![net(address)]);
        let eth0 = DeviceFacts { device, addresses, routes, mtu: 1500 };
        let in0 = DeviceFacts { device: "in0".to_owned(), ..DeviceFacts::default() };
        let kernel = KernelFacts { devices: vec![in0, eth0] };
        load_with(text, &facts(&kernel)).err().map(|problems| {
            assert_eq!(problems.0.len(), 1, "{problems}");
            problems.0[0].message.clone()
        })
    };
    for address in ["10.0.0.7/16", "10.0.0.7/25"] {
        let wanted = format!(
            "10.0.0.0/24, connected to `inside`, and {}, connected to `pod`, overlap",
            address.replace(".7/", ".0/")
        );
        assert_eq!(told(POD, address, &[]), Some(wanted));
    }
    let same = "10.0.0.0/24 is connected to `pod` already, now to `inside`";
    assert_eq!(told(POD, "10.0.0.7/24", &[]).as_deref(), Some(same));
    let twice = "the address 10.0.0.1 is given twice, to `pod` and to `inside`";
    assert_eq!(told(POD, "10.0.0.1/16", &[]).as_deref(), Some(twice));
    let listed = POD.replace("\"kernel\"", "[\"192.0.2.7/24\"]");
    let followed = format!("{listed}[[route]]\ndestination = \"0.0.0.0/0\"\nvia = \"kernel\"\n");
    for text in [POD, followed.as_str()] {
        for route in ["10.0.0.0/24", "10.0.0.128/25", "10.0.0.9/32"] {
            let wanted = format!(
                "the kernel's route to {route} by `pod` lies within 10.0.0.0/24, connected to `inside`"
            );
            assert_eq!(told(text, "192.0.2.7/24", &[route]), Some(wanted));
        }
        // The longest prefix decides: hosts inside are reached all the same.
        assert_eq!(told(text, "192.0.2.7/24", &["0.0.0.0/0", "10.0.0.0/8", "10.0.1.0/24"]), None);
    }
    // A Pod's own address is no network.
    assert_eq!(told(POD, "10.0.0.7/32", &[]), None);
}

fn address_of(net: &str) -> std::net::IpAddr {
    address(net.split('/').next().expect("it has one"))
}

//! The policies that a program changes between. Their interfaces are the same; few ports and sessions,
//! so that they run out.

use std::sync::{Arc, LazyLock};

use mooring_policy::{Policy, load};

/// The policies by number.
///
/// Read once, for the fuzzer runs hundreds of programs a second.
pub(crate) static POLICIES: LazyLock<[Arc<Policy>; 8]> = LazyLock::new(|| {
    let of_two = |v4, v6| [ROUTE_V6.to_owned(), two_pools(v4, v6)];
    let parts = [
        [String::new(), FIRST.to_owned()],
        [ROUTE_V6.to_owned(), EVERY_KIND.to_owned()],
        [ROUTE_V6.to_owned(), ENDPOINT_DEPENDENT.to_owned()],
        [ROUTE_V6.to_owned(), FILTERED.to_owned()],
        of_two(BLOCKS, BLOCKS_SHARED),
        of_two(SLICES_SHARED, SLICES),
        of_two(PREFERRED, OVERFLOW),
        of_two(OVERFLOW, PREFERRED),
    ];
    let mut limits = LIMITS.iter();
    parts.map(|[route, rules]| {
        let more = limits.next().copied().unwrap_or_default();
        let config = [LINKS, &route, &rules, LIMITED, more].concat();
        Arc::new(load(&config).expect("the policies of the test are valid").policy)
    })
});

/// The rules whose pools map by endpoint: two inside ends may share an outside end.
pub(crate) const ENDPOINT_DEPENDENT_RULE: &str = "crowd";

/// A pool of each family, on the addresses that the other policies have, with these keys.
fn two_pools(v4: &str, v6: &str) -> String {
    format!(
        r#"
        [[pool]]
        name = "crowd"
        addresses = ["203.0.113.16/31"]
        ports = "30000-30007"
        {v4}

        [[pool]]
        name = "crowd-v6"
        addresses = ["2001:db8:ff::10/128"]
        ports = "30000-30007"
        {v6}

        [[rule]]
        name = "web"
        kind = "port-forward"
        address = "203.0.113.16"
        protocol = "udp"
        port = "30001-30002"
        target = "10.0.0.4:80"

        [[rule]]
        name = "crowd"
        kind = "source-nat"
        from = "inside"
        to = "outside"
        source = ["10.0.0.0/24"]
        pool = "crowd"

        [[rule]]
        name = "crowd-v6"
        kind = "source-nat"
        from = "inside"
        to = "outside"
        source = ["fd00:10::/64"]
        pool = "crowd-v6"

        [[service]]
        name = "health"
        kind = "health"
        address = "203.0.113.17"
        port = 8080
        "#
    )
}

const BLOCKS: &str =
    r#"allocation = { kind = "port-block", size = 2, max_blocks = 2, quarantine = 3 }"#;

const BLOCKS_SHARED: &str = r#"
    allocation = { kind = "port-block", size = 3, max_blocks = 1, quarantine = 0 }
    mapping = "endpoint-dependent"
"#;

const SLICES: &str = r#"
    allocation = { kind = "deterministic", source = "fd00:10::/126", ports_per_host = 2 }
"#;

const SLICES_SHARED: &str = r#"
    allocation = { kind = "deterministic", source = "10.0.0.0/29", ports_per_host = 2 }
    mapping = "endpoint-dependent"
"#;

const PREFERRED: &str = r#"
    allocation = { kind = "preserve" }
    parity = true
    contiguity = true
    address_choice = "least-used"
    filtering = "endpoint-independent"
    hold_down = { seconds = 5, ports = 4, strict = true }
"#;

const OVERFLOW: &str = r#"
    overflow_ports = "30004-30007"
    pooling = "arbitrary"
"#;

const LINKS: &str = r#"
    [[interface]]
    name = "inside"
    device = "in0"
    addresses = ["10.0.0.1/24", "fd00:10::1/64"]

    [[interface]]
    name = "outside"
    device = "out0"
    addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]

    [[route]]
    destination = "0.0.0.0/0"
    via = "192.0.2.2"
"#;

const ROUTE_V6: &str = r#"
    [[route]]
    destination = "::/0"
    via = "2001:db8:1::2"
"#;

const LIMITED: &str = r#"
    [limits]
    sessions = 32
    sessions_per_source = 6
    fragments = 4
    fragments_per_source = 3
"#;

/// What the first policies limit beside that, in their order.
const LIMITS: [&str; 4] = [
    "half_open_per_source = 4\ntransitory_per_source = 1\necho_reply_rate = 10\n",
    "mappings_per_source = 4\nhalf_open_per_source = 2\ntransitory_per_source = 2\nicmp_error_rate = 50\n",
    "session_rate_per_source = 3\n",
    "on_full = \"evict-transitory\"\necho_reply_rate = 2\n",
];

const FIRST: &str = r#"
    [[pool]]
    name = "egress"
    addresses = ["203.0.113.16/31"]
    ports = "30000-30003"

    [[rule]]
    name = "no-mail"
    kind = "drop"
    protocol = "tcp"
    destination_ports = "25"

    [[rule]]
    name = "egress"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    source = ["10.0.0.0/24"]
    pool = "egress"
"#;

const EVERY_KIND: &str = r#"
    [[pool]]
    name = "egress"
    addresses = ["203.0.113.16/31"]
    ports = "30000-30003"
    filtering = "endpoint-independent"
    deny = ["198.51.100.8/31"]
    limits = { sessions = 5, mappings = 4 }

    [[pool]]
    name = "egress-v6"
    addresses = ["2001:db8:ff::10/128"]
    ports = "30000-30003"

    [[rule]]
    name = "web"
    kind = "port-forward"
    address = "203.0.113.16"
    port = "8080-8083"
    target = "10.0.0.2:80"
    allow = ["198.51.100.0/28"]
    deny = ["198.51.100.9"]

    [[rule]]
    name = "names"
    kind = "port-forward"
    address = "203.0.113.18"
    protocol = "udp"
    port = 53
    target = "10.0.0.3:53"

    [[rule]]
    name = "one"
    kind = "static"
    inside = "10.0.0.5/32"
    outside = "203.0.113.20/32"

    [[rule]]
    name = "one-v6"
    kind = "static"
    inside = "fd00:10::5/128"
    outside = "2001:db8:ff::20/128"

    [[rule]]
    name = "egress"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    source = ["10.0.0.0/24"]
    pool = "egress"

    [[rule]]
    name = "egress-v6"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    source = ["fd00:10::/64"]
    pool = "egress-v6"

    [[service]]
    name = "health"
    kind = "health"
    address = "203.0.113.17"
    port = 8080
"#;

const ENDPOINT_DEPENDENT: &str = r#"
    [[pool]]
    name = "crowd"
    addresses = ["203.0.113.16/31"]
    ports = "30000-30001"
    mapping = "endpoint-dependent"

    [[pool]]
    name = "crowd-v6"
    addresses = ["2001:db8:ff::10/128"]
    ports = "30000-30001"
    mapping = "endpoint-dependent"
    hairpin = false

    [[rule]]
    name = "web"
    kind = "port-forward"
    address = "203.0.113.16"
    port = "8080-8083"
    target = "10.0.0.4:80"

    [[rule]]
    name = "crowd"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    source = ["10.0.0.0/24"]
    pool = "crowd"

    [[rule]]
    name = "crowd-v6"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    source = ["fd00:10::/64"]
    pool = "crowd-v6"
"#;

const FILTERED: &str = r#"
    [[pool]]
    name = "egress"
    addresses = ["203.0.113.17/32"]
    ports = "30000-30007"
    filtering = "address-dependent"
    ping = false

    [[pool]]
    name = "egress-v6"
    addresses = ["2001:db8:ff::10/128"]
    ports = "30000-30003"
    filtering = "address-dependent"

    [[rule]]
    name = "egress"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    source = ["10.0.0.0/24"]
    pool = "egress"

    [[rule]]
    name = "egress-v6"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    source = ["fd00:10::/64"]
    pool = "egress-v6"
"#;

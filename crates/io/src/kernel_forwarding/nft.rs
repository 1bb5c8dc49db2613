//! The few nf_tables objects that [`super::IngressDrop`] is made of, as netlink messages
//! (`include/uapi/linux/netfilter/nf_tables.h`). Numbers in them are big-endian.
//!
//! Each function says in its comment what `nft --debug=netlink` prints for it.

use ipnet::IpNet;

use crate::netlink::{attribute, message, nested, string};

/// `add table netdev NAME { flags owner; }`: goes when the socket that made it does.
pub(super) fn table(sequence: u32, name: &str) -> Vec<u8> {
    let attributes = [string(TABLE_NAME, name), number(TABLE_FLAGS, TABLE_FLAG_OWNER)];
    object(MSG_NEWTABLE, CREATE, sequence, attributes)
}

/// `add chain netdev TABLE ingress { type filter hook ingress devices = {...}; policy accept; }`
pub(super) fn chain(sequence: u32, table: &str, devices: &[&str]) -> Vec<u8> {
    let devices = devices.iter().map(|device| string(DEVICE_NAME, device));
    let hook = [
        number(HOOK_NUMBER, NETDEV_INGRESS),
        number(HOOK_PRIORITY, 0),
        nested(HOOK_DEVICES, devices),
    ];
    let attributes = [
        string(CHAIN_TABLE, table),
        string(CHAIN_NAME, CHAIN),
        nested(CHAIN_HOOK, hook),
        number(CHAIN_POLICY, VERDICT_ACCEPT),
        string(CHAIN_TYPE, "filter"),
    ];
    object(MSG_NEWCHAIN, CREATE, sequence, attributes)
}

/// Adds a rule at the end of the chain: its expressions in turn, then `drop`.
pub(super) fn drop_rule(sequence: u32, table: &str, conditions: Vec<Vec<u8>>) -> Vec<u8> {
    let expressions = conditions.into_iter().chain([drop_packet()]);
    let attributes = [
        string(RULE_TABLE, table),
        string(RULE_CHAIN, CHAIN),
        nested(RULE_EXPRESSIONS, expressions),
    ];
    object(MSG_NEWRULE, CREATE | libc::NLM_F_APPEND, sequence, attributes)
}

/// `ip daddr PREFIX` or `ip6 daddr PREFIX`
pub(super) fn destined_to(prefix: IpNet) -> Vec<Vec<u8>> {
    let (protocol, offset) = match prefix {
        IpNet::V4(_) => (libc::ETH_P_IP, 16),
        IpNet::V6(_) => (libc::ETH_P_IPV6, 24),
    };
    let (network, mask) = match prefix {
        IpNet::V4(prefix) => {
            (prefix.network().octets().to_vec(), prefix.netmask().octets().to_vec())
        }
        IpNet::V6(prefix) => {
            (prefix.network().octets().to_vec(), prefix.netmask().octets().to_vec())
        }
    };
    vec![
        // [ meta load protocol => reg 1 ]
        expression("meta", [number(META_REGISTER, REGISTER), number(META_KEY, META_PROTOCOL)]),
        equals((protocol as u16).to_be_bytes()),
        // [ payload load LEN b @ network header + OFFSET => reg 1 ]
        expression(
            "payload",
            [
                number(PAYLOAD_REGISTER, REGISTER),
                number(PAYLOAD_BASE, PAYLOAD_NETWORK_HEADER),
                number(PAYLOAD_OFFSET, offset),
                number(PAYLOAD_LEN, network.len() as u32),
            ],
        ),
        // [ bitwise reg 1 = ( reg 1 & MASK ) ^ 0 ]
        expression(
            "bitwise",
            [
                number(BITWISE_SOURCE, REGISTER),
                number(BITWISE_REGISTER, REGISTER),
                number(BITWISE_LEN, mask.len() as u32),
                nested(BITWISE_MASK, [attribute(DATA_VALUE, &mask)]),
                nested(BITWISE_XOR, [attribute(DATA_VALUE, vec![0; mask.len()])]),
            ],
        ),
        equals(network),
    ]
}

/// `fib daddr type != { local, broadcast, anycast, multicast }`: would be forwarded or refused. ARP
/// and other protocols than IP do not match.
pub(super) fn not_for_this_host() -> Vec<Vec<u8>> {
    let limit = |kind: u8| [attribute(DATA_VALUE, u32::from(kind).to_ne_bytes())];
    vec![
        // [ fib daddr type => reg 1 ]
        expression(
            "fib",
            [
                number(FIB_REGISTER, REGISTER),
                number(FIB_RESULT, FIB_RESULT_ADDRESS_TYPE),
                number(FIB_FLAGS, FIB_FLAG_DESTINATION),
            ],
        ),
        // [ range neq reg 1 2 5 ]: the types RTN_LOCAL to RTN_MULTICAST stay in this host. They are
        // compared byte by byte, which for numbers below 256 is their order on any machine.
        expression(
            "range",
            [
                number(RANGE_SOURCE, REGISTER),
                number(RANGE_OPERATION, RANGE_OUTSIDE),
                nested(RANGE_FROM, limit(libc::RTN_LOCAL)),
                nested(RANGE_TO, limit(libc::RTN_MULTICAST)),
            ],
        ),
    ]
}

/// A transaction around `objects`: all of them come to be, or none.
pub(super) fn transaction(objects: &[Vec<u8>]) -> Vec<u8> {
    let mark = |kind: i32| {
        let subsystem = (libc::NFNL_SUBSYS_NFTABLES as u16).to_be_bytes();
        let header = [libc::AF_UNSPEC as u8, 0, subsystem[0], subsystem[1]];
        message(kind as u16, libc::NLM_F_REQUEST as u16, 0, &header, [])
    };
    [mark(libc::NFNL_MSG_BATCH_BEGIN), objects.concat(), mark(libc::NFNL_MSG_BATCH_END)].concat()
}

/// `[ cmp eq reg 1 VALUE ]`
fn equals(value: impl AsRef<[u8]>) -> Vec<u8> {
    expression(
        "cmp",
        [
            number(CMP_SOURCE, REGISTER),
            number(CMP_OPERATION, CMP_EQUAL),
            nested(CMP_DATA, [attribute(DATA_VALUE, value)]),
        ],
    )
}

/// `[ immediate reg 0 drop ]`
fn drop_packet() -> Vec<u8> {
    let verdict = nested(DATA_VERDICT, [number(VERDICT_CODE, VERDICT_DROP)]);
    expression(
        "immediate",
        [number(IMMEDIATE_REGISTER, VERDICT_REGISTER), nested(IMMEDIATE_DATA, [verdict])],
    )
}

fn expression<const N: usize>(name: &str, data: [Vec<u8>; N]) -> Vec<u8> {
    nested(LIST_ELEMENT, [string(EXPRESSION_NAME, name), nested(EXPRESSION_DATA, data)])
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, value.to_be_bytes())
}

/// A message to the nf_tables subsystem that asks for an acknowledgement.
fn object<const N: usize>(
    kind: i32,
    flags: i32,
    sequence: u32,
    attributes: [Vec<u8>; N],
) -> Vec<u8> {
    let kind = ((libc::NFNL_SUBSYS_NFTABLES << 8) | kind) as u16;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
    message(kind, flags, sequence, &[libc::NFPROTO_NETDEV as u8, 0, 0, 0], attributes)
}

/// The chain's name.
const CHAIN: &str = "ingress";
/// The one register that rules compute in.
const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;
const VERDICT_DROP: u32 = 0;
const VERDICT_ACCEPT: u32 = 1;
const CREATE: i32 = libc::NLM_F_CREATE;

const MSG_NEWTABLE: i32 = libc::NFT_MSG_NEWTABLE;
const MSG_NEWCHAIN: i32 = libc::NFT_MSG_NEWCHAIN;
const MSG_NEWRULE: i32 = libc::NFT_MSG_NEWRULE;

// Attribute numbers (`NFTA_*`) and their values, object by object.
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_FLAG_OWNER: u32 = 2;

const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;

const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const HOOK_DEVICES: u16 = 4;
const DEVICE_NAME: u16 = 1;
const NETDEV_INGRESS: u32 = libc::NF_NETDEV_INGRESS as u32;

const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;

const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;

const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;

const IMMEDIATE_REGISTER: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;

const META_REGISTER: u16 = 1;
const META_KEY: u16 = 2;
const META_PROTOCOL: u32 = 1;

const PAYLOAD_REGISTER: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LEN: u16 = 4;
const PAYLOAD_NETWORK_HEADER: u32 = 1;

const BITWISE_SOURCE: u16 = 1;
const BITWISE_REGISTER: u16 = 2;
const BITWISE_LEN: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;

const CMP_SOURCE: u16 = 1;
const CMP_OPERATION: u16 = 2;
const CMP_DATA: u16 = 3;
const CMP_EQUAL: u32 = 0;

const FIB_REGISTER: u16 = 1;
const FIB_RESULT: u16 = 2;
const FIB_FLAGS: u16 = 3;
const FIB_RESULT_ADDRESS_TYPE: u32 = 3;
const FIB_FLAG_DESTINATION: u32 = 2;

const RANGE_SOURCE: u16 = 1;
const RANGE_OPERATION: u16 = 2;
const RANGE_FROM: u16 = 3;
const RANGE_TO: u16 = 4;
const RANGE_OUTSIDE: u32 = 1;

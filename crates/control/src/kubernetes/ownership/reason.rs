//! Why an address is not ours, for people.

use thiserror::Error;

/// Why an address is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// The status names no Pod.
    #[error("the route's status names no Pod")]
    NamesNobody,
    /// The status names another Pod.
    #[error("the route's status names the Pod `{0}`")]
    NamesAnother(String),
    /// The status names several Pods.
    #[error("the route's status names {} Pods, and one address has one: {}", .0.len(), .0.join(", "))]
    NamesMany(Vec<String>),
    /// A load-balancing route.
    #[error("the route has `loadBalancing`: its addresses belong to no single Pod")]
    LoadBalancing,
    /// `Accepted` is not True.
    #[error("the route is not accepted ({reason}): {message}")]
    NotAccepted {
        /// The condition's reason.
        reason: String,
        /// The condition's message.
        message: String,
    },
    /// There is no `Accepted`.
    #[error("the route has no condition `Accepted` yet")]
    NotJudged,
    /// `Accepted` is of an older spec.
    #[error("the route's spec was changed, and what is accepted is the one before")]
    Outdated,
    /// We are not on the network.
    #[error(
        "this Pod is not on the network `{0}`; hint: give an interface `network = \"{0}\"`, or the Pod the annotation networking.gke.io/interfaces"
    )]
    UnknownNetwork(String),
    /// Another route has the address.
    #[error("the route `{winner}` has the address, too, and comes first")]
    Contested {
        /// The other route.
        winner: String,
    },
    /// It is no address.
    #[error("`{0}` is no address")]
    Malformed(String),
    /// It is more than one address.
    #[error("`{0}` is more than one address; hint: a route gives single ones, /32 or /128")]
    Wide(String),
    /// It is an address that no host can have.
    #[error("`{0}` is no address that a Pod can have")]
    NotUnicast(String),
    /// The labels of the type are in the order of the API group.
    #[error(
        "`{0}` is no type of address; hint: it is spelled gke.networking.io/cidr, other than the API group"
    )]
    SwappedType(String),
    /// The type is not one that we read.
    #[error(
        "`{0}` is no type of address that is read here; hint: gke.networking.io/cidr or IPAddress"
    )]
    UnknownType(String),
    /// The object is not what a route looks like.
    #[error("the route cannot be read: {0}")]
    Unreadable(String),
    /// Another host uses the address.
    #[error(
        "another host uses the address while the API server does not answer: left to it until the routes have been read anew"
    )]
    Yielded,
}

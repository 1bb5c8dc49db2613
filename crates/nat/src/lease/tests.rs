//! Which outside end a flow gets: kinds of allocation, seen from admission.

mod preferred;

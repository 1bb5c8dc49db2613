//! How every view cuts its bytes: a header at the front, then pieces whose length was checked.
//!
//! The only place that turns "not enough bytes" into a [`ParseError`]; what a layer means is not
//! known here.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Ref, SplitByteSlice, Unaligned};

use crate::error::{Layer, ParseError};

/// Splits a header of type `T` off the front.
///
/// # Errors
/// `Truncated` if there are fewer bytes than `T` has.
#[inline]
pub(crate) fn split_header<B, T>(bytes: B, layer: Layer) -> Result<(Ref<B, T>, B), ParseError>
where
    B: SplitByteSlice,
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    let had = bytes.len();
    Ref::from_prefix(bytes).map_err(|_| ParseError::Truncated {
        layer,
        needed: size_of::<T>(),
        had,
    })
}

/// Splits `len` bytes off the front of what follows the first `before` bytes of a layer.
///
/// # Errors
/// `Truncated`, counted from the start of the layer, if there are fewer than `len`.
#[inline]
pub(crate) fn split<B>(
    bytes: B,
    len: usize,
    layer: Layer,
    before: usize,
) -> Result<(B, B), ParseError>
where
    B: SplitByteSlice,
{
    bytes.split_at(len).map_err(|bytes| ParseError::Truncated {
        layer,
        needed: before + len,
        had: before + bytes.len(),
    })
}

/// Writes `header` at the front of `buf`.
///
/// # Panics
/// If `buf` is shorter than the header: packets we originate get a buffer of the right size.
#[inline]
pub(crate) fn write_header<T: IntoBytes + Immutable>(buf: &mut [u8], header: &T) {
    header.write_to_prefix(buf).expect("the caller's buffer holds the header that it asked for");
}

//! What a caller states about a disk before it is opened: how its bytes are arranged, and how large it must be.

/// How the bytes of a disk lie in the file or device. Stated by whoever registered the volume; the content of a disk
/// belongs to its guest, so it is never asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Byte n of the disk is byte n of the file or device.
    Raw,
}

/// What size a disk that is about to be written must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeRule {
    /// The disk exists with exactly this many bytes.
    Exactly(u64),
    /// The disk exists with at least this many bytes; what lies behind them is left alone.
    AtLeast(u64),
    /// A file that exists is cut or grown to this many bytes. A device cannot change and must have at least as many.
    Resize(u64),
    /// A file that does not exist yet is made with this many bytes, all of them a hole.
    Create(u64),
}

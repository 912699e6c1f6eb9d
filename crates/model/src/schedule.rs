//! schedule
/// A trigger pattern: the calendar text byte for byte, and its meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    text: String,
}
impl Pattern {
    /// The text as given.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

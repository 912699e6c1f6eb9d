//! kek

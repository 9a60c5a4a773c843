//! What a program and its system say to each other: to systemd ([`notify`]), how many [`descriptors`] there may be, what the processor
//! has ([`cpu`]), and what the kernel does for a TCP connection ([`tcp`]), [`bounded`] to what its link carries.

pub mod bounded;
pub mod cpu;
pub mod descriptors;
pub mod notify;
pub mod tcp;
mod window;

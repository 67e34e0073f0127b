use std::time::Duration;

/// Limits and deadlines. The defaults suit one data centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The largest encoded message, in bytes; what comes in larger closes its connection. All replicas need the same.
    pub max_frame_bytes: usize,
    /// How many bytes may wait for one peer; a single larger message may still wait alone.
    pub max_queue_bytes: usize,
    /// How long a dialed connection may take to be made, for each address a name has.
    pub connect_timeout: Duration,
    /// How long both halves of a handshake may take together.
    pub handshake_timeout: Duration,
    /// What a frame that has begun may take in any case; beyond it, it must arrive at `min_frame_bytes_per_second`.
    pub frame_timeout: Duration,
    /// The least pace of a large frame.
    pub min_frame_bytes_per_second: u32,
    /// How long a peer's machine may leave bytes unacknowledged before the connection is given up and made anew.
    pub stall_timeout: Duration,
    /// The wait after the first failed dial; it doubles with each further one, and is then varied by a quarter.
    pub min_backoff: Duration,
    /// The longest wait between dials.
    pub max_backoff: Duration,
    /// How many incoming connections may be amid their handshake; the oldest gives way to one more.
    pub max_handshakes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_frame_bytes: (16 << 20) + (64 << 10),
            max_queue_bytes: 8 << 20,
            connect_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(5),
            frame_timeout: Duration::from_secs(5),
            min_frame_bytes_per_second: 16 << 10,
            stall_timeout: Duration::from_secs(5),
            min_backoff: Duration::from_millis(20),
            max_backoff: Duration::from_millis(500),
            max_handshakes: 64,
        }
    }
}

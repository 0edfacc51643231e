//! Which check an authentication failed, and what its host is told.

/// A check that failed. For our log: the host gets [`Check::code`] and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Check {
    /// The host offers other protocols only.
    #[error("the host does not offer DH-HMAC-CHAP")]
    NoProtocol,
    /// The host wants TLS to follow, which RDMA does not have.
    #[error("the host asks for secure channel concatenation")]
    SecureChannel,
    /// No hash function that both allow.
    #[error("no hash function that host and configuration both allow")]
    NoHash,
    /// No Diffie-Hellman group that both allow.
    #[error("no Diffie-Hellman group that host and configuration both allow")]
    NoGroup,
    /// The message is shorter or longer than its fields say.
    #[error("a message is shorter or longer than its fields say")]
    Length,
    /// The message belongs to another transaction.
    #[error("a message names another transaction")]
    Transaction,
    /// A response is not as long as the hash.
    #[error("the response's length is not that of the hash")]
    HashLength,
    /// The value is not as long as the group's prime.
    #[error("the Diffie-Hellman value's length is not that of the group")]
    ValueLength,
    /// The value is 0, 1, p - 1 or more.
    #[error("the Diffie-Hellman value is outside the group")]
    ValueRange,
    /// Not this message now.
    #[error("not the message that comes next")]
    WrongMessage,
    /// The host does not know its key, or has another.
    #[error("the host's response is wrong: it has another key")]
    Response,
    /// The host sent our own challenge back.
    #[error("the host's challenge is our own")]
    Reflected,
    /// The host wants to know who we are, and the configuration has no key for that.
    #[error("the host asks for the controller's response, and no controller key is configured")]
    NoControllerKey,
    /// The host refused: it did not accept our challenge or our response.
    #[error("the host gave up: its key for this controller may be another")]
    ByHost,
    /// No random numbers, or too many exchanges at a time.
    #[error("the exchange could not be computed here")]
    NotComputed,
    /// The exchange took too long.
    #[error("the exchange was not over in time")]
    TimedOut,
}

impl Check {
    /// Reason code explanation of AUTH_Failure1 (NVMe Base 2.0 §8.13.5.7).
    pub const fn code(self) -> u8 {
        match self {
            Self::Response
            | Self::Reflected
            | Self::NoControllerKey
            | Self::ByHost
            | Self::NotComputed
            | Self::TimedOut => 1,
            Self::NoProtocol => 2,
            Self::SecureChannel => 3,
            Self::NoHash => 4,
            Self::NoGroup => 5,
            Self::Length
            | Self::Transaction
            | Self::HashLength
            | Self::ValueLength
            | Self::ValueRange => 6,
            Self::WrongMessage => 7,
        }
    }
}

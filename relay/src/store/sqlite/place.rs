//! Where an envelope lies: queue and position packed into one integer key.

use crate::store::QueueNo;

const POSITION_BITS: u32 = 36;
const POSITION_MAX: i64 = (1 << POSITION_BITS) - 1;
const QUEUE_MAX: i64 = (1 << (63 - POSITION_BITS)) - 1;

/// The key of a position. Positions beyond 2^36 - 1 and queues beyond 2^27 - 1 have none.
pub(super) fn place(queue: QueueNo, position: u64) -> Option<i64> {
    let position = i64::try_from(position).ok().filter(|p| *p <= POSITION_MAX)?;
    (0..=QUEUE_MAX)
        .contains(&queue.0)
        .then_some(queue.0 << POSITION_BITS | position)
}

/// The key of a position, the queue's last one if it is beyond.
pub(super) fn place_clamped(queue: QueueNo, position: u64) -> i64 {
    let position = i64::try_from(position).unwrap_or(POSITION_MAX).min(POSITION_MAX);
    queue.0.clamp(0, QUEUE_MAX) << POSITION_BITS | position
}

/// The position in a key.
pub(super) const fn position(place: i64) -> u64 {
    (place & POSITION_MAX).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_orders_by_queue_then_position() {
        let last = place(QueueNo(1), POSITION_MAX.cast_unsigned()).unwrap();
        assert!(last < place(QueueNo(2), 0).unwrap());
        assert_eq!(position(last), POSITION_MAX.cast_unsigned());
        assert_eq!(place(QueueNo(1), u64::MAX), None);
        assert_eq!(place(QueueNo(QUEUE_MAX + 1), 1), None);
        assert_eq!(place_clamped(QueueNo(1), u64::MAX), last);
    }
}

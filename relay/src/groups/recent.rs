//! A bounded memory: what was used longest ago goes first.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

#[derive(Debug)]
struct Kept<V> {
    value: V,
    weight: usize,
    used: u64,
}

/// Values by key, with a bound on the sum of their weights.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    kept: HashMap<K, Kept<V>>,
    /// Keys by when they were used.
    order: BTreeMap<u64, K>,
    uses: u64,
    weight: usize,
    max_weight: usize,
}

impl<K: Copy + Eq + Hash, V: Clone> Recent<K, V> {
    pub(super) fn new(max_weight: usize) -> Self {
        Self {
            kept: HashMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            weight: 0,
            max_weight,
        }
    }

    /// The value of `key`, made if there is none.
    pub(super) fn get(&mut self, key: K, weight: usize, make: impl FnOnce() -> V) -> V {
        if let Some(kept) = self.kept.get_mut(&key) {
            self.uses += 1;
            self.order.remove(&kept.used);
            self.order.insert(self.uses, key);
            kept.used = self.uses;
            return kept.value.clone();
        }
        let value = make();
        self.put(key, weight, value.clone());
        value
    }

    /// Keeps a value in place of what was there.
    pub(super) fn put(&mut self, key: K, weight: usize, value: V) {
        self.remove(&key);
        self.uses += 1;
        self.order.insert(self.uses, key);
        let used = self.uses;
        self.kept.insert(key, Kept { value, weight, used });
        self.weight += weight;
        self.shrink(&key);
    }

    /// Notes what a value weighs now, if it is still kept.
    pub(super) fn weigh(&mut self, key: &K, weight: usize) {
        if let Some(kept) = self.kept.get_mut(key) {
            self.weight = self.weight - kept.weight + weight;
            kept.weight = weight;
            self.shrink(key);
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(kept) = self.kept.remove(key) {
            self.order.remove(&kept.used);
            self.weight -= kept.weight;
        }
    }

    /// Everything but `spared` may go.
    fn shrink(&mut self, spared: &K) {
        while self.weight > self.max_weight {
            let oldest = self.order.values().find(|key| *key != spared).copied();
            match oldest {
                Some(key) => self.remove(&key),
                None => return,
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_recently_used_goes_first_and_one_is_always_kept() {
        let mut recent = Recent::new(10);
        for key in 0..5 {
            assert_eq!(recent.get(key, 2, || key * 10), key * 10);
        }
        assert_eq!(recent.get(0, 2, || 99), 0);
        assert_eq!(recent.get(5, 2, || 50), 50);
        assert_eq!(recent.len(), 5);
        // 1 was used longest ago.
        assert_eq!(recent.get(1, 2, || 11), 11);
        assert_eq!(recent.get(0, 2, || 99), 0);
        recent.weigh(&0, 100);
        assert_eq!(recent.len(), 1);
        assert_eq!(recent.get(0, 2, || 99), 0);
        recent.put(7, 1, 70);
        assert_eq!(recent.len(), 1);
        assert_eq!(recent.get(7, 1, || 99), 70);
        assert_eq!(recent.weight, 1);
        assert_eq!(recent.order.len(), 1);
    }
}

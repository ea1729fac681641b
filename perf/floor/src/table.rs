//! Things by number, with a generation, so that an event for what was there before is known.

/// Index and generation of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) index: u32,
    /// 24 bits.
    pub(crate) generation: u32,
}

pub(crate) struct Table<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push((0, None));
            u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 sockets")
        });
        let (generation, place) = &mut self.entries[index as usize];
        *place = Some(value);
        Key { index, generation: *generation }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let (generation, place) = &mut self.entries[key.index as usize];
        *generation = (*generation + 1) & 0xff_ffff;
        self.free.push(key.index);
        place.take()
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<&mut T> {
        let (generation, place) = self.entries.get_mut(key.index as usize)?;
        place.as_mut().filter(|_| *generation == key.generation)
    }

    /// What is there now, whatever its generation.
    pub(crate) fn at(&mut self, index: u32) -> Option<(Key, &mut T)> {
        let (generation, place) = self.entries.get_mut(index as usize)?;
        let key = Key { index, generation: *generation };
        place.as_mut().map(|value| (key, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.entries
            .iter()
            .enumerate()
            .filter(|(_, (_, place))| place.is_some())
            .map(|(index, (generation, _))| Key { index: index as u32, generation: *generation })
    }
}

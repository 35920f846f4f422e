//! The resources that the store knows, and which of them are declared. Pure.

use std::sync::Arc;

use crate::record::{IdScheme, OnDelete, RecordIndex, Schema};
use crate::settings::ResourceSettings;
use crate::storage::CollectionId;
use crate::storage::fit::{ANSWERS, Resources};

/// Every resource that was declared or stored since the process began. A [`CollectionId`] is a position in it: resources are
/// added and never removed, so a number means the same resource for good.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownResources {
    all: Vec<KnownResource>,
    /// The number of times that resources were declared: what was proposed for one version may not take the place of another.
    pub(super) version: u64,
}

#[derive(Debug, Clone)]
struct KnownResource {
    name: String,
    /// Its settings, as they were declared last.
    settings: Option<ResourceSettings>,
    declared: bool,
}

impl KnownResources {
    /// The declared ones, and the one for kept answers.
    pub(super) fn new(resources: Resources) -> Self {
        let mut known = Self::default().with(&[], &resources);
        known.all.push(KnownResource {
            name: ANSWERS.to_owned(),
            settings: None,
            declared: false,
        });
        known
    }

    /// All names, in the order of their numbers.
    pub(super) fn names(&self) -> Vec<String> {
        self.all.iter().map(|known| known.name.clone()).collect()
    }

    /// With the names of the engine, which has the known ones at the same positions.
    pub(super) fn with_names(&self, names: &[String]) -> Self {
        let mut next = self.clone();
        let added = names.iter().skip(self.all.len());
        next.all.extend(added.map(|name| KnownResource {
            name: name.clone(),
            settings: None,
            declared: false,
        }));
        next
    }

    /// With these resources declared, and no others. `names` are those of the engine.
    pub(super) fn with(&self, names: &[String], resources: &Resources) -> Self {
        let mut next = self.with_names(names);
        next.version += 1;
        for known in &mut next.all {
            known.declared = resources.contains_key(&known.name);
            if let Some(settings) = resources.get(&known.name) {
                known.settings = Some(settings.clone());
            }
        }
        let lacking = resources.iter();
        let lacking = lacking.filter(|(name, _)| self.all.iter().all(|known| known.name != **name));
        let lacking = lacking.filter(|(name, _)| !names.contains(name));
        next.all
            .extend(lacking.map(|(name, settings)| KnownResource {
                name: name.clone(),
                settings: Some(settings.clone()),
                declared: true,
            }));
        next
    }

    /// The declared resource of this name.
    pub(super) fn id(&self, name: &str) -> Option<CollectionId> {
        let mut known = self.all.iter();
        let found = known.position(|known| known.declared && known.name == name);
        found.map(CollectionId)
    }

    /// The number of a resource, whether it is declared or not.
    pub(super) fn any_id(&self, name: &str) -> Option<CollectionId> {
        let mut known = self.all.iter();
        known.position(|known| known.name == name).map(CollectionId)
    }

    pub(super) fn name(&self, id: CollectionId) -> Option<&str> {
        self.all.get(id.0).map(|known| known.name.as_str())
    }

    /// The kind of ids, as it was declared last.
    pub(super) fn ids(&self, id: CollectionId) -> IdScheme {
        let settings = self.all.get(id.0).and_then(|known| known.settings.as_ref());
        settings.map(|settings| settings.ids).unwrap_or_default()
    }

    /// The rules of a resource, as they were declared last. A record that is put when it is not declared any more keeps them.
    pub(super) fn schema(&self, id: CollectionId) -> Option<&Arc<Schema>> {
        let settings = self.all.get(id.0)?.settings.as_ref();
        settings.map(|settings| &settings.schema)
    }

    /// The indexes of a declared resource.
    pub(super) fn indexes(&self, id: CollectionId) -> Option<&[RecordIndex]> {
        let known = self.all.get(id.0).filter(|known| known.declared)?;
        known
            .settings
            .as_ref()
            .map(|settings| settings.indexes.as_slice())
    }

    /// The fields of declared resources that refer to the records of this one.
    pub(super) fn references_to<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (CollectionId, &'a str, OnDelete)> {
        let declared = self.all.iter().enumerate();
        let declared = declared.filter(|(_, known)| known.declared);
        declared.flat_map(move |(index, known)| {
            let settings = known.settings.iter();
            let references = settings.flat_map(|settings| settings.schema.references());
            let its = references.filter(move |(_, reference)| reference.to == name);
            its.map(move |(field, reference)| (CollectionId(index), field, reference.on_delete))
        })
    }

    /// The declared resources.
    pub(super) fn declared(&self) -> Resources {
        let declared = self.all.iter().filter(|known| known.declared);
        let settings = |known: &KnownResource| Some((known.name.clone(), known.settings.clone()?));
        declared.filter_map(settings).collect()
    }

    /// The others, without the store's own.
    pub(super) fn undeclared(&self) -> impl Iterator<Item = (CollectionId, &str)> {
        let known = self.all.iter().enumerate();
        let others = known.filter(|(_, known)| !known.declared && known.name != ANSWERS);
        others.map(|(index, known)| (CollectionId(index), known.name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declare(names: &[&str]) -> Resources {
        let settings = |name: &&str| ((*name).to_owned(), ResourceSettings::at(name));
        names.iter().map(settings).collect()
    }

    #[test]
    fn a_number_means_the_same_resource_for_good() {
        let books = CollectionId(0);
        let first = KnownResources::new(declare(&["books"]));
        assert_eq!(first.id("books"), Some(books));
        // The engine has one that is not declared.
        let engine = ["books", ANSWERS, "old"].map(str::to_owned);
        let opened = first.with_names(&engine);
        assert_eq!(opened.id("old"), None);
        assert_eq!(
            opened.undeclared().collect::<Vec<_>>(),
            [(CollectionId(2), "old")]
        );
        let engine = ["books", ANSWERS, "old", "albums"].map(str::to_owned);
        let second = opened.with(&engine, &declare(&["albums"]));
        assert_eq!(
            (second.id("books"), second.any_id("books")),
            (None, Some(books))
        );
        assert_eq!(second.id("albums"), Some(CollectionId(3)));
        assert_eq!(second.name(books), Some("books"));
        assert_eq!(second.schema(books), first.schema(books));
        assert_eq!(second.schema(CollectionId(2)), None);
        assert_eq!((opened.version, second.version), (1, 2));
        let third = second.with(&engine, &declare(&["albums", "books", "old"]));
        assert_eq!(third.id("books"), Some(books));
        assert_eq!(third.id("old"), Some(CollectionId(2)));
        assert_eq!(third.undeclared().count(), 0);
        assert_eq!(third.names(), engine);
        assert_eq!(third.declared().len(), 3);
    }
}

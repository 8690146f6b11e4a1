//! Pages that say more than the crate's first one: how to choose, what is promised, what is not, what it costs, how it works.
//!
//! The text stands in the folder `docs` of the repository. Only `rustdoc` compiles this module.

/// Makes a module of a file. Files link to each other by file name, which is no address here, so the links' names are
/// defined first: of two definitions the first counts.
macro_rules! page {
    ($(#[$summary:meta])* $name:ident, $file:literal $(, $chart:literal)*) => {
        $(#[$summary])*
        ///
        /// [guide]: crate::docs::guide
        /// [semantics]: crate::docs::semantics
        /// [limitations]: crate::docs::limitations
        /// [performance]: crate::docs::performance
        /// [internals]: crate::docs::internals
        ///
        $(#[doc = include_str!($chart)])*
        #[doc = include_str!($file)]
        pub mod $name {}
    };
}

page! {
    /// Choosing a collection and its limits, and reading its figures on the health page.
    guide, "../docs/guide.md"
}
page! {
    /// Every promise, and the test that holds it.
    semantics, "../docs/semantics.md"
}
page! {
    /// What does not hold, what is not kept, and how large things can get.
    limitations, "../docs/limitations.md"
}
page! {
    /// What was measured, against what, and how.
    ///
    /// The charts stand here at the top; the text refers to them by their files.
    ///
    /// <style>.docblock img[src$=".svg"] { display: none }</style>
    performance, "../docs/performance.md",
    "../docs/insert.svg", "../docs/memory.svg", "../docs/growth-time.svg", "../docs/growth-memory.svg", "../docs/pauses.svg",
    "../docs/lru-10k.svg", "../docs/lru-1m.svg", "../docs/lru-memory.svg"
}
page! {
    /// The window, the slab and the slot, and how a call walks through them.
    internals, "../docs/internals.md"
}

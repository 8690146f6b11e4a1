//! The pages of the folder `docs`. Only `rustdoc` compiles this module.

/// Makes a module of a file. Pages link to each other by file name, which rustdoc cannot resolve.
/// So each link is defined first, and the first definition of a link counts.
macro_rules! page {
    ($(#[$summary:meta])* $name:ident, $file:literal $(, $chart:literal)*) => {
        $(#[$summary])*
        ///
        /// [guide]: crate::docs::guide
        /// [coming from]: crate::docs::coming_from
        /// [async]: crate::docs::async_code
        /// [semantics]: crate::docs::semantics
        /// [limitations]: crate::docs::limitations
        /// [http idempotency]: crate::docs::http_idempotency
        /// [more than one instance]: crate::docs::more_than_one_instance
        /// [persistence]: crate::docs::persistence
        /// [performance]: crate::docs::performance
        /// [internals]: crate::docs::internals
        ///
        $(#[doc = include_str!($chart)])*
        #[doc = include_str!($file)]
        pub mod $name {}
    };
}

page! {
    /// Explains how to choose a collection and its limits, and how to read its figures.
    guide, "../docs/guide.md"
}
page! {
    /// The calls of lru, moka, quick_cache, dashmap and `HashSet`, and their equivalents.
    coming_from, "../docs/coming-from.md"
}
page! {
    /// Claims, single flight, listeners, sweeps and callbacks in async code.
    async_code, "../docs/async.md"
}
page! {
    /// Every promise with its tests.
    semantics, "../docs/semantics.md"
}
page! {
    /// The limits of the promises, and the largest values.
    limitations, "../docs/limitations.md"
}
page! {
    /// Contents that survive a restart, and the format of the files.
    persistence, "../docs/persistence.md"
}
page! {
    /// One window of ids for several instances, in Redis or Valkey.
    more_than_one_instance, "../docs/more-than-one-instance.md"
}
page! {
    /// A layer that answers a retry of an HTTP request with the first response.
    http_idempotency, "../docs/http-idempotency.md"
}
page! {
    /// Measurements, and how they were made.
    ///
    /// The charts are at the top of the page. The text refers to their files.
    ///
    /// <style>.docblock img[src$=".svg"] { display: none }</style>
    performance, "../docs/performance.md",
    "../docs/insert.svg", "../docs/memory.svg", "../docs/growth-time.svg", "../docs/growth-memory.svg", "../docs/pauses.svg",
    "../docs/lru-10k.svg", "../docs/lru-1m.svg", "../docs/lru-memory.svg"
}
page! {
    /// The data structures, and the path of a call through them.
    internals, "../docs/internals.md"
}

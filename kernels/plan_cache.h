// Choices among a library's plans that were made once and are kept for later runs.
#pragma once

#include <functional>
#include <map>
#include <string>

namespace thinwire {

/// A choice, a line of text, for each key, another. Where there is a file, all ranks and processes
/// that use it have the same choices: one chooses, others wait and take that. A file that is
/// damaged or not a plan cache is told of on standard error and written anew; one that cannot be
/// used is told of and left alone. Neither is an error, nor does a killed process leave half a
/// file.
class PlanCache {
 public:
  /// @param path Of the file, which is made with its folder; empty: choices last as long as this.
  explicit PlanCache(std::string path);

  /// The stored choice for `key` if `accept`s it; otherwise what `choose` returns, which is stored
  /// unless it is empty. While `choose` runs, nobody else who uses the file chooses anything.
  void Choose(const std::string& key, const std::function<bool(const std::string& choice)>& accept,
              const std::function<std::string()>& choose);

  /// $XDG_CACHE_HOME/thinwire/plans, or ~/.cache/thinwire/plans; empty if neither is known.
  static std::string DefaultPath();

 private:
  class FileLock;
  using Entries = std::map<std::string, std::string>;

  static bool Parse(const std::string& text, Entries& entries);
  static std::string Format(const Entries& entries);
  bool AcceptsStored(const std::string& key,
                     const std::function<bool(const std::string& choice)>& accept) const;
  /// Adds what the file holds. A damaged one is replaced. @pre It is locked.
  void Load();
  /// Replaces the file. @pre It is locked.
  void Store();
  /// From now on there is no file.
  void GiveUp(const std::string& action, int error);

  std::string path_;
  Entries entries_;
};

}  // namespace thinwire

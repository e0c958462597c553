// thinwire prepare imagenet: a folder of images as one packed file.
#pragma once

#include <string>

#include "train/prepare_command.h"

namespace thinwire {

/// Packs a folder with train and val, or any folder of class folders, the training images first, by
/// class and name. Images are decoded, shrunk and encoded on several threads; the file is the same
/// for any number of them. Called again after a kill, it goes on.
/// @return What was done, for people.
/// @throws Error naming what cannot be read, unless it may be left out, or the destination.
std::string PrepareImageFolder(const PrepareOptions& options);

}  // namespace thinwire

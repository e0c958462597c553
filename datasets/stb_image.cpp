// stb_image's code, for the formats that image_decoder.cpp gives it.
#define STB_IMAGE_IMPLEMENTATION
#include "datasets/stb_image_settings.h"

"""What `vitdecomp` says when it is called alone: what to do first."""

FIRST_STEPS = """\
vitdecomp splits the image representation of a vision transformer into an exact sum of named contributions, names them
in words, and searches, explains and debiases by them.

Five small trained models come with it, so all of this runs at once, without a download:

  vitdecomp demo --out demo-out                                    what it finds in them: demo-out/report.html
  vitdecomp inspect scenes:deit                                    the components of one model, and whether they add up
  vitdecomp describe scenes:deit --clip scenes:clip                every component in words
  vitdecomp search scenes:clip --text "something in a forest" --feature location --out hits.html
  vitdecomp explain scenes:clip --text "a red circle" --out maps.html
  vitdecomp debias scenes:clip --spurious "water,snow,forest,sand" --core "circle,square,star,heart"
  vitdecomp app                                                    a page in the browser, to look into a model

Your own model and images:

  vitdecomp models "vit_base*"                                     names of models; also hf:REPO, torchvision:NAME,
                                                                   and python:MODULE:FUNCTION for one of your own
  vitdecomp inspect timm:vit_base_patch16_224.dino --random-weights
  vitdecomp describe timm:vit_base_patch16_224.dino --clip open_clip:ViT-B-16/laion2b_s34b_b88k --images photos/

vitdecomp --help lists all commands, vitdecomp COMMAND --help the flags of one.
"""
